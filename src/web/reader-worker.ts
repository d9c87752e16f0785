/** Reads files beside the page: opens them, tells stories, looks up places. */
import {
  exitCosts,
  exportFiles,
  type FileSet,
  frameRows,
  OpenFiles,
  readTimeline,
  recogniseFiles,
  registerCosts,
  tellStory,
  UserError,
  withAccesses,
} from '../library/index.ts';
import { answerRequests } from './answer.ts';
import type { ReaderRequest, Summary } from './protocol.ts';

let files: OpenFiles | undefined;

answerRequests<ReaderRequest>(async (request, progress) => {
  switch (request.kind) {
    case 'open':
      return open(request.files, progress);
    case 'drop':
      return open(await recogniseFiles(request.files), progress);
    case 'story':
      return tellStory(await opened().analysis(), { packet: request.packet });
    case 'place':
      return opened().place(request.ref);
    case 'registers':
      return opened().registersAt(request.ns);
    case 'search':
      return opened().search(request.text);
    case 'export':
      return exportFiles(opened(), request.form);
  }
}, 'the files cannot be read');

function opened(): OpenFiles {
  if (files === undefined) throw new UserError('no files are open; drop some, or run the machine');
  return files;
}

async function open(set: FileSet, progress: (part: number) => void): Promise<Summary> {
  const now = await OpenFiles.open(set);
  const size = now.trace?.source.size ?? 1;
  const analysis = await now.analysis((bytes) => progress((bytes / size) * 0.6));
  const timeline = now.trace === undefined ? undefined : withAccesses(await readTimeline(now.trace), analysis);
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
