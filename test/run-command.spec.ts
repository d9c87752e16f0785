/** The command `xenolith run` as a user has it: the built program, its files, its exit status. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { RUN_OUTCOMES } from '../src/machine/exit-status.ts';
import { assembleTinyGuest, tinyGuestCommandLine } from '../src/machine/tiny-guest/image.ts';
import { entry as cli, lackOf, PATIENCE_MS } from './needs.ts';
import { plainGuest, powerOff, print } from './plain-guest.ts';

const lack = await lackOf('built');
const folder = mkdtempSync(join(tmpdir(), 'xenolith-run-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
const write = (data: Uint8Array | string): string => {
  const path = join(folder, `file${files++}`);
  writeFileSync(path, data);
  return path;
};
const xenolith = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, 'run', ...args], {
    encoding: 'utf8',
    timeout: PATIENCE_MS,
  });
  return { status, stdout, stderr };
};
const boot = (source: string, ...args: string[]) => xenolith('--memory', '8', '--kernel', write(plainGuest(source)), ...args);

const tripleFault = `
  mov dword [0x90000], 0
  mov dword [0x90004], 0
  lidt [0x90000]
  mov ebx, 0x5a5a5a5a
  ud2
`;

describe.skipIf(lack.skip)(lack.title('xenolith run'), () => {
  it('ends with the status of its table: poweroff, reboot, halted with interrupts off, timeout', () => {
    expect(boot(powerOff)).toMatchObject({ status: RUN_OUTCOMES.poweroff.status });
    expect(boot('mov edx, 0xcf9\nmov al, 6\nout dx, al\nhlt\n')).toMatchObject({ status: RUN_OUTCOMES.reboot.status });
    expect(boot('cli\nhlt\n')).toMatchObject({ status: RUN_OUTCOMES.halted.status });
    expect(boot('top:\nsti\nhlt\njmp top\n', '--timeout', '1')).toMatchObject({ status: RUN_OUTCOMES.timeout.status });
    const { saved, ...others } = RUN_OUTCOMES;
    expect(saved.status).toBe(0);
    expect(new Set(Object.values(others).map((o) => o.status)).size).toBe(Object.keys(others).length);
  });

  it.each(['inline', 'worker'])(
    'a triple fault is a crash with a dump of the domain: registers and disassembly (device model %s)',
    (placement) => {
      const { status, stderr } = boot(tripleFault, '--device-model', placement);
      expect(status).toBe(RUN_OUTCOMES.crash.status);
      expect(stderr).toMatch(/Triple fault/);
      expect(stderr).toMatch(/rbx: 000000005a5a5a5a/);
      expect(stderr).toMatch(/ {2}[0-9a-f]+ {2}bb 5a 5a 5a 5a +mov ebx,5A5A5A5Ah\n> [0-9a-f]+ {2}0f 0b +ud2/);
      expect(stderr.trim().split('\n').at(-1)).toMatch(/^xenolith: the guest crashed/);
    },
  );

  it('ports 0xe9, 0x12 and COM1 and the hypercall console_io reach the console', () => {
    // console_io: EAX = 18, EBX = CONSOLEIO_write, ECX = bytes, EDX = address.
    const { status, stdout } = boot(`${print('debug\n', 0xe9)}${print('log\n', 0x12)}${print('com1\n', 0x3f8)}
      mov dword [0x90000], 0x0a6f6978
      mov eax, 18
      mov ebx, 0
      mov ecx, 4
      mov edx, 0x90000
      vmcall
      ${powerOff}`);
    expect([status, stdout]).toEqual([0, 'debug\nlog\ncom1\nxio\n']);
  });

  it('enters a plain 32-bit ELF at e_entry, note or not, and by its note only with type pvh', () => {
    const noted = write(plainGuest(print('entry\n') + powerOff, print('note\n') + powerOff));
    const cfg = (type: string, kernel: string) => write(`type = '${type}'\nmemory = 8\nkernel = '${kernel}'\n`);
    expect(boot(print('entry\n') + powerOff).stdout).toBe('entry\n');
    expect(xenolith(cfg('hvm', noted)).stdout).toBe('entry\n');
    expect(xenolith(cfg('pvh', noted)).stdout).toBe('note\n');
    const refused = xenolith(cfg('pvh', write(plainGuest(powerOff))));
    expect(refused.status).toBe(1);
    expect(refused.stderr.trim().split('\n')).toHaveLength(1);
  });

  it('warns of keys it does not know, refuses more than one vCPU and files that are not there, in one line', () => {
    const kernel = write(plainGuest(powerOff));
    const warned = xenolith(write(`memory = 8; type = 'hvm'\nkernel = '${kernel}'\nfrobnicate = 3\n`));
    expect(warned.status).toBe(0);
    expect(warned.stderr).toMatch(/^xenolith: .*:3: 'frobnicate' is not understood/);
    for (const [text, message] of [
      ['vcpus = 2\n', /vcpus = 2: only one vCPU/],
      ['memory = \n', /expected a value/],
      ["kernel = '/nowhere'\n", /\/nowhere: no such file/],
    ] as const) {
      const { status, stderr } = xenolith(write(text));
      expect([status, stderr.trim().split('\n').length]).toEqual([1, 1]);
      expect(stderr).toMatch(message);
    }
    const mask = xenolith('--memory', '8', '--kernel', kernel, '--trace', join(folder, 't'), '-e', 'nonsense');
    expect([mask.status, mask.stderr.trim().split('\n').length]).toEqual([1, 1]);
  });

  it('writes the same files to the byte in two runs', () => {
    const names = ['trace', 'log', 'pcap', 'console'];
    const kernel = write(assembleTinyGuest());
    const cfg = write(
      `name = 'twice'\nmemory = 8\nkernel = '${kernel}'\nextra = '${tinyGuestCommandLine({ mode: 'ping' })}'\nvif = ['type=ioemu,model=rtl8139,mac=00:16:3e:01:02:03']\n`,
    );
    const run = (n: number): Buffer[] => {
      const [trace, log, pcap, text] = names.map((name) => join(folder, `${name}${n}`)) as [string, string, string, string];
      const { status } = xenolith(
        cfg,
        '--clock',
        'virtual',
        '--device-model',
        'inline',
        '--trace',
        trace,
        '--dm-log',
        log,
        '--pcap',
        pcap,
        '--console',
        text,
      );
      expect(status).toBe(0);
      return [trace, log, pcap, text].map((path) => readFileSync(path));
    };
    const [first, second] = [run(1), run(2)];
    expect(first.map((data) => data.length > 200)).toEqual([true, true, true, true]);
    expect(first.map((data, i) => data.equals(second[i]!))).toEqual([true, true, true, true]);
  });
});
