/**
 * The device model's log. Two forms: `trace` is QEMU's trace-event log (`pid@seconds.micros:event …`, event names and
 * arguments as in QEMU 7.2's trace-events of hw/i386/xen, hw/xen, hw/pci and softmmu); `classic` is what older
 * device models printed (`xen: I/O request: …`). The NIC's debug lines (`RTL8139: …`) are plain lines in both.
 *
 * The first line is a comment that says which clock the log has, and which wall-clock time the trace's TSC 0 is: whoever
 * lays the log over a trace need not guess.
 *
 * With no log there is no object: callers hold `DmLog | undefined` and form no text. Lines are gathered and
 * handed to the sink in large pieces.
 */
import type { Clock } from '../base/clock.ts';

export type DmLogForm = 'trace' | 'classic';

interface DmLogOptions {
  readonly form: DmLogForm;
  readonly clock: Clock;
  /** Process id shown in the trace form. */
  readonly pid: number;
  /** Takes finished text: whole lines. */
  readonly sink: (text: string) => void;
  /** Characters gathered before the sink is called. */
  readonly bufferSize?: number;
}

/** `# device-model log, clock: modelled, TSC 0 at 1704067200.000000, 1000000000 Hz`: seconds since 1970 by the log's clock. */
const clockHeader = (clock: Clock): string =>
  `# device-model log, clock: ${clock.kind === 'virtual' ? 'modelled' : 'measured'}, TSC 0 at ${(clock.epochUs / 1e6).toFixed(6)}, ${clock.tscHz} Hz\n`;

export class DmLog {
  readonly form: DmLogForm;
  private readonly clock: Clock;
  private readonly sink: (text: string) => void;
  private readonly bufferSize: number;
  private readonly pid: string;
  private text = '';
  /** The second last printed, as text: it changes seldom. */
  private second = -1;
  private secondText = '';

  constructor(options: DmLogOptions) {
    this.form = options.form;
    this.clock = options.clock;
    this.sink = options.sink;
    this.bufferSize = options.bufferSize ?? 64 * 1024;
    this.pid = `${options.pid}@`;
    this.text = clockHeader(options.clock);
  }

  /** True for the trace form: whoever forms an event's text asks first. */
  get traces(): boolean {
    return this.form === 'trace';
  }

  /** One trace event: name, a blank, its arguments. */
  event(text: string): void {
    const us = this.clock.epochUs + Math.floor(this.clock.nowNs() / 1000);
    const second = Math.floor(us / 1_000_000);
    if (second !== this.second) {
      this.second = second;
      this.secondText = `${this.pid}${second}.`;
    }
    const micros = us - second * 1_000_000;
    this.text += `${this.secondText}${(micros + 1_000_000).toString().slice(1)}:${text}\n`;
    if (this.text.length >= this.bufferSize) this.flush();
  }

  /** One plain line. */
  line(text: string): void {
    this.text += `${text}\n`;
    if (this.text.length >= this.bufferSize) this.flush();
  }

  flush(): void {
    if (this.text === '') return;
    const text = this.text;
    this.text = '';
    this.sink(text);
  }
}
