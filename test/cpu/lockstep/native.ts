/** Compiles native/runner.c and runs cases with it on this machine's processor. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Case, type Outcome, REQUEST_SIZE, RESULT_SIZE, result } from './case.ts';
import { memoryImage } from './values.ts';

/** Most cases of one batch (MAX_CASES of the runner). */
export const BATCH = 512;

/** One runner process. All cases of a batch share one memory image. */
export class NativeProcessor {
  private readonly directory: string;
  private readonly process: ChildProcess;
  private received: Buffer[] = [];
  private receivedLength = 0;
  private wake: (() => void) | undefined;
  private ended = false;

  constructor(command?: readonly string[]) {
    this.directory = mkdtempSync(join(tmpdir(), 'xenolith-lockstep-'));
    const program = join(this.directory, 'runner');
    const source = join(import.meta.dirname, '../native/runner.c');
    execFileSync('gcc', [
      '-O1',
      '-static-pie',
      '-fPIE',
      '-nostdlib',
      '-ffreestanding',
      '-fno-stack-protector',
      '-mgeneral-regs-only',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-o',
      program,
      source,
    ]);
    const [first, ...rest] = [...(command ?? []), program];
    this.process = spawn(first as string, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.process.stdout?.on('data', (chunk: Buffer) => {
      this.received.push(chunk);
      this.receivedLength += chunk.length;
      this.wake?.();
    });
    this.process.on('close', () => {
      this.ended = true;
      this.wake?.();
    });
  }

  /** Outcomes of up to BATCH cases that share their memory seed. */
  async run(cases: readonly Case[]): Promise<Outcome[]> {
    const first = cases[0];
    if (!first) return [];
    if (cases.length > BATCH || cases.some((one) => one.memorySeed !== first.memorySeed))
      throw new RangeError('a batch is at most 512 cases with one memory seed');
    const head = Buffer.alloc(4);
    head.writeUInt32LE(cases.length);
    const request = Buffer.concat([head, memoryImage(first.memorySeed), ...cases.map((one) => one.record)]);
    if (request.length !== 4 + 0x3000 + cases.length * REQUEST_SIZE) throw new Error('request of wrong length');
    this.process.stdin?.write(request);
    const outcomes: Outcome[] = [];
    while (outcomes.length < cases.length) {
      const record = new Uint8Array(await this.take(RESULT_SIZE));
      const count = new DataView(record.buffer).getUint32(result.changes, true);
      const changes = new Uint8Array(await this.take(count * 4));
      outcomes.push({ record, changes: new Uint32Array(changes.buffer) });
    }
    return outcomes;
  }

  private async take(length: number): Promise<Buffer> {
    while (this.receivedLength < length) {
      if (this.ended)
        throw new Error(`the native runner ended (status ${this.process.exitCode}, signal ${this.process.signalCode})`);
      await new Promise<void>((done) => {
        this.wake = done;
      });
    }
    const all = this.received.length === 1 ? (this.received[0] as Buffer) : Buffer.concat(this.received);
    const out = all.subarray(0, length);
    const rest = all.subarray(length);
    this.received = rest.length ? [rest] : [];
    this.receivedLength = rest.length;
    return out;
  }

  close(): void {
    this.process.stdin?.end();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
