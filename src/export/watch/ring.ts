import { TraceWindowWriter } from '../../trace/index.ts';
import type { LiveWindow } from '../../trace/index.ts';

/** The last seconds of a stream, as the windows that came. */
export class WindowRing {
  private readonly windows: { readonly window: LiveWindow; readonly ns: number }[] = [];
  private readonly keepNs: number;
  private readonly bytesMax: number;
  private held = 0;

  /** @param bytesMax more than this is never held: the oldest windows go first */
  constructor(keepNs: number, bytesMax: number) {
    this.keepNs = keepNs;
    this.bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.held;
  }

  /** @param ns trace time at which it came */
  push(window: LiveWindow, ns: number): void {
    this.windows.push({ window, ns });
    this.held += window.bytes;
    let old = 0;
    while (old < this.windows.length - 1 && (this.windows[old]!.ns < ns - this.keepNs || this.held > this.bytesMax))
      this.held -= this.windows[old++]!.window.bytes;
    if (old > 0) this.windows.splice(0, old);
  }

  /** Write what is held as a trace. @returns bytes written */
  write(sink: (bytes: Uint8Array) => void): number {
    const writer = new TraceWindowWriter(sink);
    for (const { window } of this.windows) writer.window(window.cpu, new Uint8Array(window.words.buffer, 0, window.bytes));
    return writer.bytesWritten;
  }
}
