/** Reads files beside the page: opens them, tells stories, looks up places. */
import {
  exitCosts,
  type FileSet,
  frameRows,
  OpenFiles,
  readTimeline,
  recogniseFiles,
  registerCosts,
  tellStory,
  UserError,
} from '../library/index.ts';
import type { ReaderMessage, ReaderRequest, Summary } from './protocol.ts';

let files: OpenFiles | undefined;

const post = (message: ReaderMessage): void => postMessage(message);

addEventListener('message', ({ data }: MessageEvent<{ id: number; request: ReaderRequest }>) => {
  const { id, request } = data;
  answer(request, (progress) => post({ id, progress })).then(
    (value) => post({ id, value }),
    (error: Error) =>
      post({ id, error: error instanceof UserError ? error.message : `the files cannot be read: ${error.message}` }),
  );
});

async function answer(request: ReaderRequest, progress: (part: number) => void): Promise<unknown> {
  switch (request.kind) {
    case 'open':
      return open(request.files, progress);
    case 'drop':
      return open(await recogniseFiles(request.files), progress);
    case 'story':
      return tellStory(await opened().analysis(), { packet: request.packet });
    case 'place':
      return opened().place(request.ref);
  }
}

function opened(): OpenFiles {
  if (files === undefined) throw new UserError('no files are open; drop some, or run the machine');
  return files;
}

async function open(set: FileSet, progress: (part: number) => void): Promise<Summary> {
  const now = await OpenFiles.open(set);
  const size = now.trace?.source.size ?? 1;
  const analysis = await now.analysis((bytes) => progress((bytes / size) * 0.6));
  const timeline = now.trace === undefined ? undefined : await readTimeline(now.trace);
  progress(0.9);
  files = now;
  return {
    frames: frameRows(analysis),
    timeline,
    registers: registerCosts(analysis),
    exits: timeline === undefined ? [] : exitCosts(timeline),
    notes: analysis.leftOut,
  };
}
