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
    case 'timeline':
      return timelineOf(opened());
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
  const analysis = await now.analysis((bytes) => progress((bytes / size) * 0.7));
  files = now;
  return {
    frames: frameRows(analysis),
    timeline: undefined,
    registers: registerCosts(analysis),
    exits: [],
    notes: analysis.leftOut,
  };
}

/** The lanes of a trace, and what its exits cost; nothing where there is no trace. */
async function timelineOf(from: OpenFiles): Promise<Pick<Summary, 'timeline' | 'exits'>> {
  if (from.trace === undefined) return { timeline: undefined, exits: [] };
  const timeline = withAccesses(await readTimeline(from.trace), await from.analysis());
  return { timeline, exits: exitCosts(timeline) };
}
