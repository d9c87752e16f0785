/** `xenolith run` on a terminal: a pty of util-linux's script. What is typed reaches the guest, and the terminal is as before whatever ends the run. Needs dist/. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { entry, lackOf, until } from './needs.ts';
import { plainGuest, powerOff, print } from './plain-guest.ts';

const lack = await lackOf('built', 'script', 'bash');
const linux = await lackOf('guest');

const folder = mkdtempSync(join(tmpdir(), 'xenolith-terminal-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** COM1's line status bit 0: a character is there. Says each one back, a power off at `q`. */
const echo = `
  mov edx, 0x3fd
wait:
  in al, dx
  test al, 1
  je wait
  mov edx, 0x3f8
  in al, dx
  cmp al, 113
  je quit
  out dx, al
  mov edx, 0x3fd
  jmp wait
quit:
${powerOff}`;

const terminals: Terminal[] = [];

/** A command on a terminal of its own. */
class Terminal {
  output = '';
  private readonly child;
  private readonly ended: Promise<number | null>;

  constructor(args: string, environment: Record<string, string> = {}) {
    const command = `echo "BEFORE $(stty -g)"; (echo "PID $BASHPID"; exec ${process.execPath} ${entry} run ${args}); echo "STATUS $?"; echo "AFTER $(stty -g)"`;
    this.child = spawn('script', ['-qec', command, '/dev/null'], {
      cwd: folder,
      env: { ...process.env, SHELL: '/bin/bash', ...environment },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.child.stdout.on('data', (data: Buffer) => (this.output += data.toString('latin1')));
    this.ended = new Promise((resolve) => this.child.on('close', resolve));
    terminals.push(this);
  }

  /** Nothing of a test that failed stays behind. */
  clear(): void {
    const pid = /PID (\d+)/.exec(this.output)?.[1];
    if (this.child.exitCode !== null || pid === undefined) return;
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended.
    }
  }

  /** Resolves when what came out matches, from `from` on; gives the match. */
  async shows(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    const match = await until(`${pattern} on the terminal`, () => {
      const found = pattern.exec(this.output.slice(from));
      return found ?? (this.child.exitCode === null ? undefined : null);
    });
    if (match === null) throw new Error(`no ${pattern} on the terminal:\n${this.output.slice(-2000)}`);
    return match;
  }

  type(text: string): void {
    this.child.stdin.write(text, 'latin1');
  }

  async signal(name: NodeJS.Signals): Promise<void> {
    process.kill(Number((await this.shows(/PID (\d+)/))[1]), name);
  }

  /** Status of the command; the terminal must be as it was before. */
  async end(): Promise<number> {
    const [, status] = await this.shows(/STATUS (\d+)/);
    const [, after] = await this.shows(/AFTER (\S+)/);
    this.child.stdin.end();
    await this.ended;
    expect(after).toBe(/BEFORE (\S+)/.exec(this.output)![1]);
    expect(after!.length).toBeGreaterThan(30);
    return Number(status);
  }
}

afterEach(() => terminals.splice(0).forEach((terminal) => terminal.clear()));

/** The guest's shell asks its terminal where the cursor is. */
const PROMPT = String.raw`/ # (?:\x1b\[6n)?$`;
const READY = /Ctrl-\] leaves[\s\S]*ready/;

describe.skipIf(lack.skip)(lack.title('a run on a terminal'), () => {
  beforeAll(() => {
    writeFileSync(join(folder, 'echo.elf'), plainGuest(print('ready\n') + echo));
    writeFileSync(
      join(folder, 'fault.elf'),
      plainGuest(`${print('ready\n')}mov dword [0x90000], 0\nmov dword [0x90004], 0\nlidt [0x90000]\nud2\n`),
    );
  });

  it.each(['--clock virtual', '--clock host'])("types into COM1, every key: Ctrl-C is the guest's too (%s)", async (clock) => {
    const terminal = new Terminal(`--kernel echo.elf --memory 8 ${clock}`);
    await terminal.shows(READY);
    const from = terminal.output.length;
    terminal.type('hello\x03\x1a\x04 you');
    await terminal.shows(/hello\x03\x1a\x04 you/, from);
    terminal.type('q');
    expect(await terminal.end()).toBe(0);
  });

  it('shows control characters of a console that is not its own, written out', async () => {
    writeFileSync(join(folder, 'escapes.elf'), plainGuest(print('\x1b[2J\x9b\xc2\x9bready\r\n', 0x3f8) + powerOff));
    const terminal = new Terminal('--kernel escapes.elf --memory 8 < /dev/null');
    await terminal.shows(/\\x1b\[2J.*\\x9bready/);
    expect(await terminal.end()).toBe(0);
    expect(terminal.output).not.toMatch(/[\x1b\x9b]/);
  });

  it('Ctrl-] leaves, and shows where the guest is', async () => {
    const terminal = new Terminal('--kernel echo.elf --memory 8');
    await terminal.shows(READY);
    terminal.type('\x1d');
    expect(await terminal.end()).toBe(130);
    expect(terminal.output).toContain('xenolith: interrupted (');
    expect(terminal.output).toMatch(/ioreq server 0: slot 0 [\s\S]*Runstate: /);
  });

  it.each<[NodeJS.Signals, number]>([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ])('%s ends the run and gives the terminal back', async (signal, status) => {
    const terminal = new Terminal('--kernel echo.elf --memory 8');
    await terminal.shows(READY);
    await terminal.signal(signal);
    expect(await terminal.end()).toBe(status);
  });

  it('a guest that crashes gives it back', async () => {
    const terminal = new Terminal('--kernel fault.elf --memory 8');
    expect(await terminal.end()).toBe(11);
    expect(terminal.output).toMatch(/Triple fault/);
  });

  it('a fault of the program itself gives it back', async () => {
    const fault = 'data:text/javascript,process.on(`SIGUSR2`,()=>{throw(new(Error)(`a`+`fault`))})';
    const terminal = new Terminal('--kernel echo.elf --memory 8', { NODE_OPTIONS: `--import=${fault}` });
    await terminal.shows(READY);
    await terminal.signal('SIGUSR2');
    expect(await terminal.end()).toBe(1);
    expect(terminal.output).toContain('Error: afault');
  });

  it('a run that cannot be made leaves it alone', async () => {
    const terminal = new Terminal('--kernel nowhere --memory 8');
    expect(await terminal.end()).toBe(1);
    expect(terminal.output).toContain('xenolith: nowhere: no such file');
  });

  it('no console here, no terminal taken', async () => {
    const terminal = new Terminal('--kernel echo.elf --memory 8 --console console --timeout 1');
    expect(await terminal.end()).toBe(13);
    expect(terminal.output).not.toContain('Ctrl-]');
  });

  it.skipIf(linux.skip)(linux.title('is a shell in the Debian guest: a command, its answer, Ctrl-C, poweroff'), async () => {
    const terminal = new Terminal('--shell');
    const answered = async (typed: string, answer: RegExp): Promise<void> => {
      const from = terminal.output.length;
      terminal.type(typed);
      await terminal.shows(answer, from);
    };
    await terminal.shows(new RegExp(PROMPT));
    await answered('echo $((6 * 7)) is the answer\r', new RegExp(String.raw`\n42 is the answer[\s\S]*${PROMPT}`));
    await answered('ping 10.0.2.2\r', /seq=1 ttl=64/);
    await answered('\x03', new RegExp(String.raw`packets transmitted, [\s\S]*${PROMPT}`));
    terminal.type('poweroff -f\r');
    expect(await terminal.end()).toBe(0);
    expect(terminal.output).toMatch(/reboot: Power down[\s\S]*xenolith: the guest powered off/);
  });
});
