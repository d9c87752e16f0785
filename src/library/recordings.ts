/** Recordings, whose reader is loaded where one is opened: it needs packages that a browser without a bundler does not find. */
import type { OpenedRecording } from './recording.ts';

export type { OpenedRecording } from './recording.ts';

const MAGIC = 'XENOSAVE';

/** Whether a file is a machine that was saved or recorded. @param head its first bytes */
export const isRecording = (head: Uint8Array): boolean => String.fromCharCode(...head.subarray(0, MAGIC.length)) === MAGIC;

/**
 * Runs a recording of `xenolith run --record` again, on the calling thread, and gives its files and its run.
 * @throws UserError for a file that is none, or a run that leaves what was recorded
 */
export const openRecording = async (file: Blob, name: string): Promise<OpenedRecording> =>
  (await import('./recording.ts')).openRecording(file, name);
