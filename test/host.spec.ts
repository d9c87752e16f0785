/** What a guest can cost the host: memory, disk, the terminal; and how its hang is looked at. Needs dist/. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { constants, existsSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assembleTinyGuest, tinyGuestCommandLine } from '../src/machine/tiny-guest/image.ts';
import { entry, lackOf, PATIENCE_MS, until } from './needs.ts';
import { measured, startMeasured } from './peak-memory.ts';
import { plainGuest, powerOff, print } from './plain-guest.ts';

const lack = await lackOf('built');
const folder = mkdtempSync(join(tmpdir(), 'xenolith-host-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);

const xenolith = (...args: string[]) =>
  spawnSync(process.execPath, [entry, ...args], { cwd: folder, encoding: 'latin1', timeout: PATIENCE_MS, maxBuffer: 1 << 28 });
const boot = (guest: string, ...args: string[]) => xenolith('run', '--kernel', guest, '--memory', '8', ...args);

/** Writes pieces of 4 KiB to the console by console_io. */
const flood = (pieces: number): string => `
  mov edi, 0x200000
  mov ecx, 4096
  mov al, 0x78
  rep stosb
  mov byte [0x200fff], 10
  mov esi, ${pieces}
top:
  mov eax, 18
  mov ebx, 0
  mov ecx, 4096
  mov edx, 0x200000
  vmcall
  dec esi
  jne top
  ${powerOff}`;
const FLOOD_PIECES = 65536;
const FLOOD_BYTES = FLOOD_PIECES * 4096;
/** What a process may be larger than a quiet one, in megabytes: the ring, buffers of streams, and what the collector has not taken yet. */
const MORE = 120;

/** Resolves when the process no longer computes. On a busy machine it may come early, which makes a test weaker, never wrong. */
async function stands(pid: number): Promise<void> {
  let ticks = -1;
  let same = 0;
  await until('the process stands', () => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    const now = Number(fields[11]) + Number(fields[12]);
    same = now - ticks <= 1 ? same + 1 : 0;
    ticks = now;
    return same > 20;
  });
}

describe.skipIf(lack.skip)(lack.title('a guest and its host'), () => {
  beforeAll(() => {
    writeFileSync(at('off.elf'), plainGuest(powerOff));
    writeFileSync(at('flood.elf'), plainGuest(flood(FLOOD_PIECES)));
    writeFileSync(
      at('loop.elf'),
      plainGuest('cli\nmov esp, 0x90000\nmov eax, 0x12345678\npush eax\nmov ebx, 0xfeedface\ntop:\njmp top\n'),
    );
    writeFileSync(at('idle.elf'), plainGuest('top:\nsti\nhlt\njmp top\n'));
    writeFileSync(at('halt.elf'), plainGuest('cli\nhlt\n'));
    writeFileSync(at('loud.elf'), plainGuest('top:\nmov al, 10\nmov edx, 0x3f8\nout dx, al\njmp top\n'));
    writeFileSync(
      at('panic.elf'),
      plainGuest(
        `${print('Booting\nKernel panic - not syncing: \x1b[31mVFS\n---[ end ]---\n', 0x3f8)}mov edx, 0xcf9\nmov al, 6\nout dx, al\nhlt\n`,
      ),
    );
    writeFileSync(at('tiny.elf'), assembleTinyGuest());
  });

  describe('memory', () => {
    it.each([[], ['--clock', 'host']])(
      'a console that nobody reads holds the guest up, and every byte comes (%s %s)',
      async (...clock) => {
        const args = ['run', '--kernel', 'off.elf', '--memory', '8', ...clock];
        const quiet = measured(folder, args);
        expect(quiet.status).toBe(0);
        const { child, ended } = startMeasured(
          folder,
          args.map((word) => word.replace('off.elf', 'flood.elf')),
        );
        child.stdout!.pause();
        await stands(child.pid!);
        let bytes = 0;
        child.stdout!.on('data', (data: Buffer) => (bytes += data.length));
        child.stdout!.resume();
        const { status, peak, stderr } = await ended;
        expect([status, bytes, stderr]).toEqual([0, FLOOD_BYTES, expect.stringMatching(/^xenolith: the guest powered off/)]);
        expect(peak).toBeLessThan(quiet.peak + MORE);
      },
    );

    it.each(['--trace', '--dm-log'])('%s into a pipe that nobody reads holds the guest up as well', async (output) => {
      execFileSync('mkfifo', [at(`pipe${output}`)]);
      // Both ends, so that the program's open does not wait.
      const fd = openSync(at(`pipe${output}`), constants.O_RDWR | constants.O_NONBLOCK);
      const exits = tinyGuestCommandLine({ mode: 'exits', reads: 300_000 });
      const args = (file: string): string[] => [
        'run',
        '--kernel',
        'tiny.elf',
        '--append',
        exits,
        '--memory',
        '8',
        '--console',
        '/dev/null',
        output,
        file,
      ];
      const quiet = measured(folder, args('/dev/null'));
      expect(quiet.status).toBe(0);
      const { child, ended } = startMeasured(folder, args(`pipe${output}`));
      await stands(child.pid!);
      let bytes = 0;
      const part = Buffer.alloc(1 << 16);
      const take = (): void => {
        try {
          for (let n = 1; n > 0; ) bytes += n = readSync(fd, part);
        } catch {
          // Nothing there for now.
        }
      };
      const timer = setInterval(take, 1);
      const { status, peak } = await ended;
      clearInterval(timer);
      take();
      expect(status).toBe(0);
      expect(bytes).toBeGreaterThan(20e6);
      expect(peak).toBeLessThan(quiet.peak + MORE);
    });

    it('a run whose console is stuck ends by a signal all the same', async () => {
      const { child, ended } = startMeasured(folder, ['run', '--kernel', 'flood.elf', '--memory', '8', '--trace', 'stuck.trc']);
      // Before the guest runs nobody waits for the signal.
      await once(child.stdout!, 'readable');
      child.stdout!.pause();
      await stands(child.pid!);
      child.kill('SIGTERM');
      const { status, stderr } = await new Promise<{ status: number | null; stderr: string }>((resolve) => {
        child.on('exit', () => {
          child.stdout!.destroy();
          void ended.then(resolve);
        });
      });
      expect([status, stderr]).toEqual([143, expect.stringMatching(/^xenolith: interrupted/)]);
      expect(xenolith('trace', 'summary', 'stuck.trc').status).toBe(0);
    });
  });

  describe('disk', () => {
    it('a file at its size ends the run, whole', () => {
      const { status, stderr } = boot(
        'loud.elf',
        '--console',
        '/dev/null',
        '--max-size',
        'trace=1M',
        '--trace',
        'stop.trc',
        '--dm-log',
        'stop.log',
      );
      expect([status, stderr]).toEqual([14, expect.stringMatching(/^xenolith: an output has reached its size: stop\.trc \(/)]);
      expect(statSync(at('stop.trc')).size).toBeGreaterThan(2 ** 20 - 2 ** 18);
      expect(statSync(at('stop.trc')).size).toBeLessThan(2 ** 20 + 2 ** 21);
      expect(xenolith('trace', 'summary', 'stop.trc')).toMatchObject({ status: 0, stderr: '' });
      expect(readFileSync(at('stop.log'), 'latin1').endsWith('\n')).toBe(true);
    });

    it('or goes on as a ring of two files, both of which can be read', () => {
      const files = ['--trace', 'ring.trc', '--dm-log', 'ring.log', '--console', 'ring.console'];
      const { status } = boot('loud.elf', '--max-size', '3M', '--when-full', 'ring', '--timeout', '1', ...files);
      expect(status).toBe(13);
      for (const name of ['ring.trc', 'ring.trc.1'])
        expect(xenolith('trace', 'summary', name)).toMatchObject({ status: 0, stderr: '' });
      for (const name of ['ring.log', 'ring.log.1'])
        expect(readFileSync(at(name), 'latin1')).toMatch(/^# device-model log.*\n$/s);
      expect(statSync(at('ring.log')).size + statSync(at('ring.log.1')).size).toBeLessThan(4 << 20);
    });

    it('what repeats is cheap in a file whose name ends in .gz, which the trace commands read', () => {
      const ping = ['--append', tinyGuestCommandLine({ mode: 'ping' }), '--console', '/dev/null'];
      expect(boot('tiny.elf', ...ping, '--trace', 'a.trc', '--dm-log', 'a.log').status).toBe(0);
      expect(boot('tiny.elf', ...ping, '--trace', 'b.trc.gz', '--dm-log', 'b.log.gz').status).toBe(0);
      expect(gunzipSync(readFileSync(at('b.trc.gz'))).equals(readFileSync(at('a.trc')))).toBe(true);
      expect(statSync(at('b.log.gz')).size).toBeLessThan(statSync(at('a.log')).size / 5);
      const io = (trace: string, log: string) => xenolith('trace', 'io', trace, '--dm-log', log, '--stats').stdout;
      expect(io('b.trc.gz', 'b.log.gz')).toBe(io('a.trc', 'a.log'));
    });

    it('--wall-timeout ends what has no end of its own', () => {
      const { status, stderr } = boot('idle.elf', '--clock', 'host', '--wall-timeout', '1', '--dump-on', 'none');
      expect([status, stderr.split('\n').at(-2)]).toEqual([13, expect.stringMatching(/^xenolith: the time given ran out/)]);
    });
  });

  it('the console comes byte for byte where it does not go to a terminal', () => {
    const text = '\x1b[2J\x9b31m\x80\xff\x01\r\n';
    writeFileSync(at('bytes.elf'), plainGuest(print(text, 0x3f8) + powerOff));
    expect(boot('bytes.elf', '--console', '-', '--console', 'bytes.console').stdout).toBe(text);
    expect(readFileSync(at('bytes.console'), 'latin1')).toBe(text);
  });

  describe('a hang', () => {
    const PARTS = [
      /^\(xen\) d1v0: the time given ran out$/m,
      /^RIP: .*\[<00000000001000/m,
      /rbx: 00000000feedface/,
      /^Code around RIP:|^\(xen\) Code around RIP:/m,
      /^> [0-9a-f]+ {2}eb fe +jmp/m,
      /^\(xen\) Stack:\n {2}[0-9a-f]{8} {2}12345678 /m,
      /^\(xen\) Interrupts: disabled \(RFLAGS\.IF\), none is being delivered$/m,
      /^ {2}local APIC: on, TPR 0x00, .*pending \(IRR\) none/m,
      /^ {2}IO-APIC: 48 of 48 pins masked$/m,
      /^ {2}8259 master: pending \(IRR\) [01]{8}, masked \(IMR\) 11111111/m,
      /^ {2}event channels: upcall not pending/m,
      /^ {2}ioreq server 0: slot 0 none, the last request /m,
      /^ {2}ioreq server 0: 0 slots of the buffered page wait$/m,
      /^Runstate: running for [\d.]+ ms/m,
      /^Last of \d+ VM exits of the guest's own:$/m,
    ];

    it('is shown at a timeout, whatever the clock', () => {
      // On a busy machine the guest may not come to its loop in the first second.
      const looped = (seconds: string) => boot('loop.elf', '--timeout', seconds, '--clock', 'host');
      let { status, stderr } = looped('1');
      for (const seconds of ['10', '60']) if (!stderr.includes('feedface')) ({ status, stderr } = looped(seconds));
      expect(status).toBe(13);
      for (const part of PARTS) expect(stderr).toMatch(part);
    });

    it('is shown at a timeout, and a silent loop is told of before', () => {
      const { status, stderr } = boot('loop.elf', '--timeout', '2');
      expect(status).toBe(13);
      for (const part of PARTS) expect(stderr).toMatch(part);
      expect(stderr).toMatch(
        /^\(xen\) d1v0 has run \d+ million instructions around rip 0x1000\w\w with interrupts off .*: it loops/m,
      );
      expect(stderr.match(/it loops/g)).toHaveLength(1);
      expect(stderr).toMatch(/^xenolith: the guest has written nothing to its console; a Linux writes there with --append/m);
    });

    it('is shown where it was asked for, and nowhere else', () => {
      expect(boot('idle.elf', '--timeout', '1', '--dump-on', 'none').stderr).not.toContain('Stack:');
      expect(boot('halt.elf').stderr).not.toContain('Stack:');
      const { status, stderr } = boot('halt.elf', '--dump-on', 'halted,timeout');
      expect([status, stderr]).toEqual([12, expect.stringContaining('(xen) d1v0: the guest halted with interrupts off')]);
      expect(stderr).toMatch(/ {2}[\d.]+ s {2}rip 0{10}1000\w\w {2}hlt \(12\)$/m);
    });

    it('is shown at SIGQUIT, and the files are whole', async () => {
      const files = ['--trace', 'quit.trc', '--dm-log', 'quit.log', '--console', 'quit.console'];
      const child = spawn(process.execPath, [entry, 'run', '--kernel', 'loud.elf', '--memory', '8', ...files], { cwd: folder });
      let stderr = '';
      child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
      const ended = new Promise((resolve) => child.on('close', resolve));
      await until('some trace', () => existsSync(at('quit.trc')) && statSync(at('quit.trc')).size > 500_000);
      child.kill('SIGQUIT');
      expect(await ended).toBe(131);
      expect(stderr).toMatch(/^\(xen\) d1v0: interrupted$/m);
      expect(stderr).toMatch(/rip 0{10}1000\w\w {2}ioInstruction \(30\) write port 0x3f8$/m);
      expect(xenolith('trace', 'summary', 'quit.trc')).toMatchObject({ status: 0, stderr: '' });
      expect(readFileSync(at('quit.log'), 'latin1').endsWith('\n')).toBe(true);
    });

    it('a reboot after a panic says so, with its last lines', () => {
      const { status, stderr } = boot('panic.elf', '--console', '/dev/null');
      expect(status).toBe(10);
      expect(stderr).toBe(
        `xenolith: the guest's kernel has panicked; its last lines:\n  Booting\n  Kernel panic - not syncing: \\x1b[31mVFS\n  ---[ end ]---\n${stderr.split('\n').at(-2)}\n`,
      );
      expect(stderr).toMatch(/^xenolith: the guest asked for a reboot after a panic \(/m);
    });
  });
});
