/** The guest's console as text: what came so far, waiting for something in it, and commands for a shell that waits. */
import { UserError } from '../base/errors.ts';

/** Characters of the console that are kept for waitFor. */
const KEPT = 1 << 20;
/** What a shell's line editor takes, less what is put around a command. */
const LONGEST_COMMAND = 900;
const MARK = '\x1e';

interface Waiter {
  readonly pattern: string | RegExp;
  readonly from: number;
  readonly timer: ReturnType<typeof setTimeout> | undefined;
  resolve(text: string): void;
  reject(error: Error): void;
}

/** What a command of the guest gave. */
export interface ExecResult {
  /** What it wrote, standard output and error, with line ends as the console has them taken to `\n`. */
  readonly output: string;
  /** Its exit status. */
  readonly status: number;
}

export class ConsoleText {
  private readonly decoder = new TextDecoder();
  private text = '';
  /** Characters that came before `text`. */
  private dropped = 0;
  /** Up to here, counted from the start, waits have been answered. */
  private taken = 0;
  private waiters: Waiter[] = [];
  private over: Error | undefined;
  private commands = 0;

  /** Everything that is kept, at most the last million characters. */
  get all(): string {
    return this.text;
  }

  add(bytes: Uint8Array): void {
    this.text += this.decoder.decode(bytes, { stream: true });
    if (this.text.length > 2 * KEPT) {
      const cut = this.text.length - KEPT;
      this.text = this.text.slice(cut);
      this.dropped += cut;
    }
    this.look();
  }

  /** Nothing more comes: whoever waits is told why. */
  end(error: Error): void {
    this.over = error;
    for (const waiter of this.waiters.splice(0)) {
      clearTimeout(waiter.timer);
      waiter.reject(error);
    }
  }

  /**
   * Resolves with the text up to and with what was waited for; the next wait begins behind it.
   * @param timeoutMs milliseconds of real time; default: without limit
   */
  waitFor(pattern: string | RegExp, timeoutMs?: number): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.over !== undefined && this.find({ pattern, from: this.taken }) === undefined) {
        reject(this.over);
        return;
      }
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => {
              this.waiters = this.waiters.filter((other) => other !== waiter);
              reject(new UserError(`waited ${timeoutMs} ms for ${String(pattern)} on the console in vain`));
            }, timeoutMs);
      const waiter: Waiter = { pattern, from: this.taken, timer, resolve, reject };
      this.waiters.push(waiter);
      this.look();
    });
  }

  /** What is to be typed for a command, and how its result is read from the text waited for. */
  command(line: string): { readonly input: string; readonly end: RegExp; result(text: string): ExecResult } {
    if (line.length > LONGEST_COMMAND)
      throw new UserError(
        `a command of ${line.length} characters: a shell's line takes ${LONGEST_COMMAND}; put it into a script`,
      );
    if (/[\r\n]/.test(line)) throw new UserError('a command with a line end in it: give one line, or put it into a script');
    const id = ++this.commands;
    // What the shell echoes holds the octal digits, and only what it runs writes the mark itself.
    const quoted = line.replaceAll("'", "'\\''");
    const input = `printf '\\036${id}\\036'; eval '${quoted}' 2>&1; printf '\\036%d\\036' $?\n`;
    const start = `${MARK}${id}${MARK}`;
    return {
      input,
      end: new RegExp(`${start}[^]*?${MARK}(\\d+)${MARK}`),
      result(text) {
        const [, output, status] = new RegExp(`${start}([^]*?)${MARK}(\\d+)${MARK}$`).exec(text)!;
        return { output: output!.replaceAll('\r\n', '\n'), status: Number(status) };
      },
    };
  }

  private find({ pattern, from }: Pick<Waiter, 'pattern' | 'from'>): { start: number; end: number } | undefined {
    const start = Math.max(0, from - this.dropped);
    if (typeof pattern === 'string') {
      const at = this.text.indexOf(pattern, start);
      return at < 0 ? undefined : { start, end: at + pattern.length };
    }
    const found = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, '')).exec(this.text.slice(start));
    return found === null ? undefined : { start, end: start + found.index + found[0].length };
  }

  private look(): void {
    for (const waiter of [...this.waiters]) {
      const found = this.find(waiter);
      if (found === undefined) continue;
      this.waiters = this.waiters.filter((other) => other !== waiter);
      clearTimeout(waiter.timer);
      this.taken = Math.max(this.taken, this.dropped + found.end);
      waiter.resolve(this.text.slice(found.start, found.end));
    }
  }
}
