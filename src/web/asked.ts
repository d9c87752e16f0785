/** The page's end of a Worker that answers requests. */
import type { WorkerAnswer } from './protocol.ts';

interface Pending {
  readonly progress: ((part: number) => void) | undefined;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class Asked<Request extends { readonly kind: string }, Answers extends Record<Request['kind'], unknown>> {
  private readonly worker: Worker;
  private readonly pending = new Map<number, Pending>();
  private next = 0;

  constructor(worker: Worker) {
    this.worker = worker;
    worker.onmessage = ({ data }: MessageEvent<WorkerAnswer>) => {
      const waiting = this.pending.get(data.id);
      if ('progress' in data) {
        waiting?.progress?.(data.progress);
        return;
      }
      this.pending.delete(data.id);
      if ('error' in data) waiting?.reject(new Error(data.error));
      else waiting?.resolve(data.value);
    };
    worker.onerror = (event) => {
      const error = new Error(event.message || 'a Worker of the page cannot be loaded; reload the page');
      for (const { reject } of this.pending.values()) reject(error);
      this.pending.clear();
    };
  }

  ask<Kind extends Request['kind']>(
    request: Request & { readonly kind: Kind },
    progress?: (part: number) => void,
  ): Promise<Answers[Kind]> {
    return new Promise((resolve, reject) => {
      const id = this.next++;
      this.pending.set(id, { progress, resolve: resolve as (value: unknown) => void, reject });
      this.worker.postMessage({ id, request });
    });
  }

  terminate(): void {
    this.worker.terminate();
    for (const { reject } of this.pending.values()) reject(new Error('given up'));
    this.pending.clear();
  }
}
