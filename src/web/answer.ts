/** A Worker's end: answers each request in its turn, so that none sees what another is about to change. */
import { UserError } from '../library/index.ts';
import type { WorkerAnswer } from './protocol.ts';

export function answerRequests<Request>(
  answer: (request: Request, progress: (part: number) => void) => unknown,
  prefix: string,
): void {
  const post = (message: WorkerAnswer): void => postMessage(message);
  let last: Promise<unknown> = Promise.resolve();
  addEventListener('message', ({ data }: MessageEvent<{ id: number; request: Request }>) => {
    const { id, request } = data;
    last = last
      .then(() => answer(request, (progress) => post({ id, progress })))
      .then(
        (value) => post({ id, value }),
        (error: Error) => post({ id, error: error instanceof UserError ? error.message : `${prefix}: ${error.message}` }),
      );
  });
}
