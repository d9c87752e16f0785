/** The page's end of its reader Worker. */
import type { ReaderAnswers, ReaderMessage, ReaderRequest } from './protocol.ts';

interface Pending {
  readonly progress: ((part: number) => void) | undefined;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class Reader {
  private readonly worker = new Worker(new URL('./reader-worker.ts', import.meta.url), { type: 'module' });
  private readonly pending = new Map<number, Pending>();
  private next = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<ReaderMessage>) => {
      const waiting = this.pending.get(data.id);
      if ('progress' in data) {
        waiting?.progress?.(data.progress);
        return;
      }
      this.pending.delete(data.id);
      if ('error' in data) waiting?.reject(new Error(data.error));
      else waiting?.resolve(data.value);
    };
  }

  ask<Kind extends ReaderRequest['kind']>(
    request: ReaderRequest & { readonly kind: Kind },
    progress?: (part: number) => void,
  ): Promise<ReaderAnswers[Kind]> {
    return new Promise((resolve, reject) => {
      const id = this.next++;
      this.pending.set(id, { progress, resolve: resolve as (value: unknown) => void, reject });
      this.worker.postMessage({ id, request });
    });
  }
}
