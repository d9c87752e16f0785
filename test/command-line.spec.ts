/** The command line as a stranger meets it: what is wrong gives one line and a status, examples work when pasted, files outlive signals. Needs dist/. */
import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assembleTinyGuest, tinyGuestCommandLine } from '../src/machine/tiny-guest/image.ts';
import { type Outcome, runHere } from './in-process.ts';
import { entry as cli, lackOf, PATIENCE_MS, until } from './needs.ts';
import { plainGuest, powerOff } from './plain-guest.ts';

const root = resolve(import.meta.dirname, '..');
const qtest = join(root, 'dist/cli/qtest.js');
const lack = await lackOf('built', 'bash');

const folder = mkdtempSync(join(tmpdir(), 'xenolith-command-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);
const put = (name: string, data: Uint8Array | string): void => {
  mkdirSync(dirname(at(name)), { recursive: true });
  writeFileSync(at(name), data);
};

/** One command in the test's folder, as a process without a terminal. */
const run = (program: string, args: readonly string[], stdio: { input?: string; stdout?: number } = {}): Outcome =>
  spawnSync(process.execPath, [program, ...args], {
    cwd: folder,
    encoding: 'utf8',
    timeout: PATIENCE_MS,
    maxBuffer: 1 << 28,
    env: { ...process.env, FORCE_COLOR: undefined },
    ...(stdio.stdout === undefined ? { input: stdio.input ?? '' } : { stdio: ['ignore', stdio.stdout, 'pipe'] }),
  });
const xenolith = (...args: string[]): Outcome => run(cli, args);
const here = (...args: string[]): Promise<Outcome> => runHere(folder, args);
const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

const tiny = (extra: string): string =>
  `name = 'tiny'; type = 'hvm'\nmemory = 8\nkernel = 'tiny.elf'\nextra = '${extra}'\nvif = ['type=ioemu,model=rtl8139,mac=00:16:3e:01:02:03']\n`;
/** A disk that is always full. */
const full = await lackOf('/dev/full');
const RUN_FILES = [
  '--trace',
  'out/trace.trc',
  '--dm-log',
  'out/qemu-dm.log',
  '--pcap',
  'out/net.pcapng',
  '--console',
  'out/console.log',
];

describe.skipIf(lack.skip)(lack.title('the command line'), () => {
  beforeAll(() => {
    put('tiny.elf', assembleTinyGuest());
    put('guest.cfg', tiny(tinyGuestCommandLine({ mode: 'ping' })));
    put('busy.cfg', tiny(tinyGuestCommandLine({ mode: 'exits', reads: 100_000_000 })));
    put('off.elf', plainGuest(powerOff));
    put('idle.elf', plainGuest('top:\nsti\nhlt\njmp top\n'));
    put('loud.elf', plainGuest('top:\nmov al, 10\nmov edx, 0xe9\nout dx, al\njmp top\n'));
    put('noise', 'no kernel at all\n'.repeat(100));
    symlinkSync(join(root, 'test'), at('test'));
    expect(xenolith('run', 'guest.cfg', ...RUN_FILES)).toMatchObject({ status: 0, stdout: '' });
    put('cut.pcapng', readFileSync(at('out/net.pcapng')).subarray(0, 300));
    put('cut.trc', readFileSync(at('out/trace.trc')).subarray(0, 100_002));
  });

  const small = ['--memory', '8', '--console', 'console'];
  it.each<[string, string[], RegExp]>([
    ['an empty trace on standard input', ['trace', 'dump', '-'], /^xenolith: .* is empty: expected an xentrace file/],
    ['a shell for nobody', ['run', '--shell'], /^xenolith: --shell needs a terminal on standard input/],
    ['what is wrong, as a process', ['run', '--kernel', 'noise'], /^xenolith: noise: not a kernel image/],
  ])('%s: one line and status 1', (_, args, message) => {
    const { status, stdout, stderr } = xenolith(...args);
    expect([status, stdout, lines(stderr).length]).toEqual([1, '', 1]);
    expect(stderr).toMatch(message);
  });

  it('a run with a story says what it will do, what it left, and three commands that work', () => {
    const { status, stdout, stderr } = xenolith('run', 'guest.cfg', '--story', ...RUN_FILES);
    expect([status, lines(stderr)[0]]).toEqual([0, "This boots the virtual machine 'tiny' and records every step of its I/O:"]);
    const end = stdout.slice(stdout.indexOf('\nFiles that this run left:'));
    for (const file of RUN_FILES.filter((word) => word.startsWith('out/'))) {
      expect(stderr).toMatch(new RegExp(`^ {2}writes +${file.replaceAll('.', '\\.')} \\(`, 'm'));
      expect(end).toMatch(new RegExp(`^ {2}${file.replaceAll('.', '\\.')} +[\\d.]+ (?:bytes|KiB|MiB) +\\w`, 'm'));
    }
    const commands = lines(end.slice(end.indexOf('Three commands to try:'))).slice(1);
    expect(commands).toHaveLength(3);
    for (const command of commands) {
      const result = spawnSync('bash', ['-c', command], {
        cwd: folder,
        encoding: 'utf8',
        timeout: PATIENCE_MS,
        maxBuffer: 1 << 28,
      });
      expect([command, result.status, result.stderr]).toEqual([command, 0, '']);
      expect(result.stdout.length).toBeGreaterThan(150);
    }
  });

  it('a run whose story cannot be told says so, and keeps its status', () => {
    const files = RUN_FILES.slice(0, 6).map((word) => word.replace('out/', 'mute/'));
    const told = xenolith('run', 'guest.cfg', '--story', ...RUN_FILES);
    expect([told.status, told.stdout]).toEqual([0, expect.stringMatching(/^\nPacket 3 of the capture: ICMP echo request/)]);
    const silent = xenolith('run', '--kernel', 'off.elf', ...small, '--story', ...files);
    expect([silent.status, silent.stdout, lines(silent.stderr).at(-1)]).toEqual([
      1,
      '',
      expect.stringMatching(/^xenolith: no story: /),
    ]);
    const late = xenolith('run', '--kernel', 'idle.elf', ...small, '--story', '--timeout', '1', ...files);
    expect([late.status, late.stderr]).toEqual([13, expect.stringMatching(/^xenolith: no story: /m)]);
  });

  it('a guest has all the memory that is allowed, wherever its frames lie', () => {
    expect(xenolith('run', 'guest.cfg', '--memory', '3840')).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('3 packets transmitted, 3 packets received') as string,
    });
  });

  it('--debug adds the stack trace', () => {
    expect(xenolith('run', 'nowhere.cfg', '--debug').stderr).toMatch(/nowhere\.cfg: no such file.*\n +at /);
  });

  it('warns of what has no effect, and runs', () => {
    put('cfg/warned', `${tiny('ping=1')}memory = 9\nvif = ['rate=1Mb/s,model=rtl8139']\ndisk = []\n`);
    const { status, stderr } = xenolith('run', 'cfg/warned');
    expect(status).toBe(0);
    expect(lines(stderr).slice(0, -1)).toEqual([
      "xenolith: cfg/warned:6: 'memory' was given in line 2 already; this one counts",
      "xenolith: cfg/warned:7: 'vif' was given in line 5 already; this one counts",
      "xenolith: cfg/warned:7: vif: 'rate' is not understood here and has no effect",
      "xenolith: cfg/warned:8: 'disk' is not understood here and has no effect",
    ]);
  });

  it('leaves the outputs of an earlier run alone when another one cannot be opened', () => {
    put('kept', 'of yesterday');
    expect(xenolith('run', 'guest.cfg', '--trace', 'kept', '--dm-log', 'out').status).toBe(1);
    expect(readFileSync(at('kept'), 'utf8')).toBe('of yesterday');
  });

  it('/dev/null takes any number of outputs', () => {
    expect(
      xenolith(
        'run',
        'guest.cfg',
        '--trace',
        '/dev/null',
        '--dm-log',
        '/dev/null',
        '--pcap',
        '/dev/null',
        '--console',
        '/dev/null',
      ),
    ).toMatchObject({ status: 0, stdout: '' });
  });

  it('damaged files are read as far as they go; the damage is told, and in the exit status', () => {
    const files = ['--dm-log', 'out/qemu-dm.log', '--pcap', 'cut.pcapng'];
    for (const args of [
      ['trace', 'explain', 'out/trace.trc', ...files],
      ['trace', 'explain', 'out/trace.trc', ...files, '--json'],
      ['trace', 'io', 'out/trace.trc', ...files],
    ]) {
      const { status, stdout, stderr } = xenolith(...args);
      expect([status, lines(stderr).length]).toEqual([1, 1]);
      expect(stderr).toMatch(/^xenolith: capture damaged at offset \d+: .*; the frames before it were used/);
      expect(stdout.length).toBeGreaterThan(500);
    }
    for (const args of [
      ['trace', 'dump', 'cut.trc'],
      ['trace', 'summary', 'cut.trc'],
    ]) {
      const { status, stdout, stderr } = xenolith(...args);
      expect([status, lines(stderr).length]).toEqual([1, 1]);
      expect(stderr).toMatch(/^xenolith: trace damaged at offset 0x[0-9a-f]+: /);
      expect(stdout.length).toBeGreaterThan(500);
    }
  });

  it.skipIf(full.skip).each(['--trace', '--dm-log', '--pcap', '--console'])(
    full.title('a full disk for %s: the run ends there, with one line and status 1'),
    (output) => {
      const others = output === '--console' ? [] : ['--console', 'console'];
      for (const clock of ['virtual', 'host']) {
        const { status, stdout, stderr } = xenolith('run', 'guest.cfg', ...others, output, '/dev/full', '--clock', clock);
        expect([status, stdout, stderr]).toEqual([
          1,
          '',
          expect.stringMatching(/^xenolith: \/dev\/full: cannot be written: ENOSPC.*; the run ended there\n$/),
        ]);
      }
    },
  );

  describe('standard output', () => {
    it.skipIf(full.skip).each<[string, string[]]>([
      ['help', ['run', '--help']],
      ['run', ['run', 'guest.cfg']],
      ['run --json', ['run', 'guest.cfg', '--console', 'console', '--json']],
      ['trace dump', ['trace', 'dump', 'out/trace.trc']],
      ['trace dump --json', ['trace', 'dump', 'out/trace.trc', '--json']],
      ['trace summary', ['trace', 'summary', 'out/trace.trc']],
      ['trace io', ['trace', 'io', 'out/trace.trc', '--dm-log', 'out/qemu-dm.log']],
      ['trace explain', ['trace', 'explain', 'out/trace.trc', '--dm-log', 'out/qemu-dm.log']],
    ])(full.title('full under %s: one line and status 1'), (_, args) => {
      const stdout = openSync('/dev/full', 'w');
      const { status, stderr } = run(cli, args, { stdout });
      closeSync(stdout);
      expect(status).toBe(1);
      expect(lines(stderr).filter((line) => line.includes('ENOSPC'))).toHaveLength(1);
      expect(stderr).not.toMatch(/\n +at /);
    });

    const shell = (script: string): Outcome =>
      spawnSync('bash', ['-c', `xenolith() { ${process.execPath} ${cli} "$@"; }\n${script}`], {
        cwd: folder,
        encoding: 'utf8',
        timeout: PATIENCE_MS,
      });

    it('whose reader leaves ends a printing command without a word', () => {
      for (const args of ['trace dump out/trace.trc', 'trace io out/trace.trc --dm-log out/qemu-dm.log']) {
        expect(shell(`xenolith ${args} | head -1; exit \${PIPESTATUS[0]}`)).toMatchObject({ status: 0, stderr: '' });
      }
    });

    it('whose reader leaves stops a run as a signal does, and its files are whole', () => {
      const { status, stdout, stderr } = shell(
        `xenolith run --kernel loud.elf --memory 8 ${RUN_FILES.slice(0, 6).join(' ').replaceAll('out/', 'left/')} | head -1; exit \${PIPESTATUS[0]}`,
      );
      expect(stdout).toBe('\n');
      expect([status, stderr]).toEqual([141, expect.stringMatching(/^xenolith: interrupted/)]);
      expect(xenolith('trace', 'summary', 'left/trace.trc')).toMatchObject({ status: 0, stderr: '' });
    });

    it('closed from the start is no trouble', () => {
      expect(shell('xenolith run guest.cfg >&-').status).toBe(0);
    });

    it.skipIf(process.platform !== 'linux')('closed from the start is an error of a command that only prints', () => {
      for (const command of [
        'trace dump out/trace.trc',
        'trace summary out/trace.trc',
        'conformance test/transcripts/rtl8139-eeprom.jsonl.gz',
      ])
        expect(shell(`xenolith ${command} >&- < out/trace.trc`)).toMatchObject({
          status: 1,
          stderr: 'xenolith: standard output is closed; give it a file, or /dev/null\n',
        });
      expect(shell('xenolith trace summary out/trace.trc > /dev/null').status).toBe(0);
    });

    it('carries no escapes without a terminal or with NO_COLOR, and what a program reads is JSON', () => {
      const commands = [
        ['--help'],
        ['run', '--help'],
        ['run', 'guest.cfg', '--json', '--console', 'console'],
        ['trace', 'summary', 'out/trace.trc', '--json'],
        ['trace', 'explain', 'out/trace.trc', '--dm-log', 'out/qemu-dm.log', '--pcap', 'out/net.pcapng'],
        ['conformance', 'test/transcripts/rtl8139-eeprom.jsonl.gz'],
      ];
      for (const args of commands) {
        const { stdout, stderr } = xenolith(...args);
        expect(stdout + stderr).not.toMatch(/\x1b/);
        if (args.includes('--json')) expect(JSON.parse(stdout)).toBeTypeOf('object');
      }
    });
  });

  describe('a signal', () => {
    const start = (name: string, ...args: string[]) => {
      const files = RUN_FILES.map((word) => word.replace('out/', `${name}/`));
      const child = spawn(process.execPath, [cli, 'run', 'busy.cfg', ...files, ...args], {
        cwd: folder,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let stderr = '';
      child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
      const ended = new Promise<{ status: number | null; signal: string | null }>((resolve) =>
        child.on('close', (status, signal) => resolve({ status, signal })),
      );
      const grown = async (): Promise<void> => {
        await until(
          'a megabyte of trace',
          () => existsSync(at(`${name}/trace.trc`)) && statSync(at(`${name}/trace.trc`)).size >= 1_000_000,
        );
      };
      return { child, ended, grown, stderr: () => stderr };
    };

    it.each<[NodeJS.Signals, number, string[]]>([
      ['SIGINT', 130, []],
      ['SIGTERM', 143, ['--clock', 'host']],
      ['SIGHUP', 129, []],
    ])('%s ends a run with status %d, every file whole', async (signal, expected, args) => {
      const { child, ended, grown, stderr } = start(signal, ...args);
      await grown();
      child.kill(signal);
      expect(await ended).toEqual({ status: expected, signal: null });
      expect(lines(stderr())).toEqual([expect.stringMatching(/^xenolith: interrupted \(\d+ million instructions/)]);
      expect(xenolith('trace', 'summary', `${signal}/trace.trc`)).toMatchObject({ status: 0, stderr: '' });
      expect(readFileSync(at(`${signal}/qemu-dm.log`), 'utf8').endsWith('\n')).toBe(true);
      expect(readFileSync(at(`${signal}/console.log`), 'utf8')).toContain('tiny guest: long mode');
    });

    it('that cannot be caught leaves a trace which can be read to where it stopped', async () => {
      const { child, ended, grown } = start('SIGKILL');
      await grown();
      child.kill('SIGKILL');
      expect(await ended).toEqual({ status: null, signal: 'SIGKILL' });
      const { stdout, stderr } = xenolith('trace', 'summary', 'SIGKILL/trace.trc', '--json');
      expect((JSON.parse(stdout) as { records: number }).records).toBeGreaterThan(20_000);
      expect(lines(stderr).length).toBeLessThanOrEqual(1);
      expect(stderr).toMatch(/^$|^xenolith: trace damaged at offset 0x[0-9a-f]+: the file ends /);
    });
  });

  describe('--help', () => {
    const commands = [
      [],
      ['run'],
      ['guest'],
      ['guest', 'build'],
      ['page'],
      ['conformance'],
      ['explain'],
      ['resume'],
      ['replay'],
      ['debug'],
      ['trace'],
      ['trace', 'dump'],
      ['trace', 'summary'],
      ['trace', 'io'],
      ['trace', 'explain'],
      ['trace', 'export'],
      ['trace', 'sql'],
      ['trace', 'report'],
      ['trace', 'compare'],
      ['trace', 'watch'],
    ];

    it('names every command there is', async () => {
      const below = async (...path: string[]): Promise<string[]> =>
        [...(await here(...path, '--help')).stdout.matchAll(/^ {2}(\w+)(?: \[options\].*| <.*| {2,}.*)$/gm)]
          .map(([, name]) => name!)
          .filter((name) => name !== 'help');
      expect(
        new Set([
          ...(await below()),
          ...(await below('guest')).map((c) => `guest ${c}`),
          ...(await below('trace')).map((c) => `trace ${c}`),
        ]),
      ).toEqual(new Set(commands.filter((c) => c.length > 0).map((c) => c.join(' '))));
    });

    /**
     * Examples on files that no run of this test leaves (a Debian guest's state, a recording, two hosts' traces, a second of a run), and
     * a server, which goes on until it is stopped.
     */
    const needsMore = /--from 1 |out\/booted\.xen|out\/run\.rec|before\.trc|^page/;
    it.each(commands.map((path) => [['xenolith', ...path].join(' '), path]))(
      '%s: its examples work when pasted',
      async (_, path) => {
        const { status, stdout } = await here(...path, '--help');
        expect(status).toBe(0);
        const examples = [...stdout.slice(stdout.indexOf('\nExample')).matchAll(/^ {2}xenolith (.*)$/gm)].map(
          ([, rest]) => rest!,
        );
        expect(examples.length + (stdout.includes('| xenolith ') ? 1 : 0)).toBeGreaterThan(0);
        for (const example of examples.filter((line) => !needsMore.test(line))) {
          const offline = example.startsWith('guest build') ? ' --offline' : '';
          const result = spawnSync(
            'bash',
            ['-c', `${process.execPath} ${cli} ${example.replace(/^guest build/, `guest build${offline}`)}`],
            { cwd: folder, encoding: 'utf8', timeout: PATIENCE_MS, maxBuffer: 1 << 28 },
          );
          // Without a Debian kernel in the cache that one says so.
          if (offline !== '' && result.status === 1) expect(result.stderr).toMatch(/no Debian kernel in the cache/);
          else expect([example, result.status]).toEqual([example, 0]);
          if (offline === '' && !example.includes(' -o ')) expect(result.stdout.length).toBeGreaterThan(50);
        }
      },
    );

    it('xenolith-system-x86_64: its example works too', () => {
      const { stdout } = run(qtest, ['--help']);
      const [, input, args] = /^ {2}echo '(.*)' \| xenolith-system-x86_64 (.*)$/m.exec(stdout)!;
      expect(run(qtest, args!.split(' '), { input: `${input}\n` })).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(/^OK/),
      });
    });

    it('knows every option that README.md and docs/ use', async () => {
      const pages = [
        'README.md',
        'docs/trace.md',
        'docs/platform.md',
        'docs/device-model.md',
        'docs/bench.md',
        'docs/xenalyze.md',
        'docs/architecture.md',
        'guest/README.md',
      ];
      const used = pages.flatMap((page) =>
        [...readFileSync(join(root, page), 'utf8').matchAll(/xenolith ((?:run|guest|conformance|explain|trace)\b[^`\n#]*)/g)].map(
          ([, words]) => ({ page, words: words!.trim().split(/\s+/) }),
        ),
      );
      expect(used.length).toBeGreaterThan(10);
      const helps = new Map<string, string>();
      for (const { page, words } of used) {
        const path = words.slice(0, words[0] === 'trace' || words[0] === 'guest' ? 2 : 1);
        if (!commands.some((c) => c.join(' ') === path.join(' '))) continue;
        const key = path.join(' ');
        if (!helps.has(key)) helps.set(key, (await here(...path, '--help')).stdout);
        for (const option of words.filter((word) => /^--?[a-z]/.test(word)))
          expect([page, key, helps.get(key)!.includes(`${option} `) ? option : `no ${option}`]).toEqual([page, key, option]);
      }
    });
  });
});
