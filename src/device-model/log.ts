/**
 * The device model's log. Two forms: `trace` is QEMU's trace-event log (`pid@seconds.fraction:event …`); `classic` is what older
 * device models printed (`xen: I/O request: …`), without events. A NIC's debug lines (`RTL8139: …`) are plain lines in both. What a line
 * says stands in the catalogue (abi/dm-log-lines.ts, devices/nic/<chip>/log.ts).
 *
 * Times are in nanoseconds, where QEMU prints microseconds: capture and trace have them too, and the three then lie on one clock.
 * The first line is a comment that says which clock the log has, and which wall-clock time the trace's TSC 0 is: whoever
 * lays the log over a trace need not guess.
 *
 * With no log there is no object: callers hold `DmLog | undefined` and form no text. Lines are gathered and
 * handed to the sink in large pieces.
 */
import { clockHeader } from '../abi/dm-log-lines.ts';
import type { Clock } from '../base/clock.ts';
import type { LineFields, LogLine } from '../base/log-line.ts';

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

/** Seconds are since 1970, by the log's clock. */
const headerOf = (clock: Clock): string =>
  clockHeader.write({
    clock: clock.kind === 'virtual' ? 'modelled' : 'measured',
    seconds: (clock.epochUs / 1e6).toFixed(6),
    hz: String(clock.tscHz),
  });

const NS_PER_SECOND = 1_000_000_000;

export class DmLog {
  readonly form: DmLogForm;
  private readonly clock: Clock;
  private readonly sink: (text: string) => void;
  private readonly bufferSize: number;
  private readonly pid: string;
  private text = '';
  /** The epoch's whole second, and nanoseconds beyond it. */
  private readonly epochSecond: number;
  private readonly epochNs: number;
  /** The second last printed, as text: it changes seldom. */
  private second = -1;
  private secondText = '';

  constructor(options: DmLogOptions) {
    this.form = options.form;
    this.clock = options.clock;
    this.sink = options.sink;
    this.bufferSize = options.bufferSize ?? 64 * 1024;
    this.pid = `${options.pid}@`;
    this.epochSecond = Math.floor(options.clock.epochUs / 1e6);
    this.epochNs = (options.clock.epochUs - this.epochSecond * 1e6) * 1000;
    this.line(headerOf(options.clock));
  }

  /** Forget what was not handed out: a machine was restored. `header`: the log begins anew with its first line. */
  restart(header: boolean): void {
    this.text = '';
    if (header) this.line(headerOf(this.clock));
  }

  /** True for the trace form: whoever forms an event's text asks first. */
  get traces(): boolean {
    return this.form === 'trace';
  }

  /** One line of the catalogue: an event with its time, if this form has events, or a plain line. */
  put<T extends string, O extends string>(line: LogLine<T, O>, fields: LineFields<T>): void {
    if (line.form === 'line') this.line(line.write(fields));
    else if (this.traces) this.event(line.write(fields));
  }

  private event(text: string): void {
    const ns = this.epochNs + Math.floor(this.clock.nowNs());
    const second = this.epochSecond + Math.floor(ns / NS_PER_SECOND);
    if (second !== this.second) {
      this.second = second;
      this.secondText = `${this.pid}${second}.`;
    }
    this.text += `${this.secondText}${((ns % NS_PER_SECOND) + NS_PER_SECOND).toString().slice(1)}:${text}\n`;
    if (this.text.length >= this.bufferSize) this.flush();
  }

  private line(text: string): void {
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
