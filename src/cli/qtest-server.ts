/**
 * The program that QEMU's qtest clients start in place of QEMU: reads QEMU's command line as far as they use it,
 * connects to the sockets they listen on and serves qtest and QMP until told to end.
 */
import { openSync, writeSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { UserError } from '../base/errors.ts';
import { Qmp, type QemuRelease } from './qmp.ts';
import { QtestMachine, qtestDevices, type QtestDevice } from './qtest-machine.ts';
import { QtestProtocol } from './qtest-protocol.ts';

/** Options of QEMU's that say nothing to a machine without processor, screen and firmware: with a value behind them, and alone. */
const IGNORED = new Set([
  '-M',
  '-machine',
  '-accel',
  '-display',
  '-audio',
  '-audiodev',
  '-trace',
  '-smp',
  '-cpu',
  '-name',
  '-vga',
  '-serial',
  '-parallel',
  '-monitor',
  '-run-with',
  '-d',
  '-D',
]);
const IGNORED_ALONE = new Set(['-nodefaults', '-nographic', '-no-reboot', '-no-shutdown', '-no-user-config', '-S']);

export const qtestUsage = `Usage: xenolith-system-x86_64 -qtest unix:PATH|stdio [options]

Takes the place of QEMU for its qtest programs (QTEST_QEMU_BINARY): chips and chipset of a PC without a processor.

  -qtest unix:PATH|stdio           where the test listens, or standard input and output
  -qtest-log FILE                  write every line there (/dev/null, /dev/fd/2 …)
  -chardev socket,path=PATH,id=ID  a socket the test listens on
  -mon chardev=ID,mode=control     serve QMP there
  -device MODEL[,addr=DD.F]        a device: ${qtestDevices.join(', ')}
  -m MEGABYTES                     RAM (128)
  read and ignored, with a value: ${[...IGNORED].slice(0, 9).join(', ')},
                                  ${[...IGNORED].slice(9).join(', ')}
  read and ignored, alone:        ${[...IGNORED_ALONE].join(', ')}

Example:
  echo 'inl 0xcfc' | xenolith-system-x86_64 -qtest stdio -device rtl8139
`;

interface QtestArguments {
  readonly qtest: string;
  readonly log: string | undefined;
  /** Sockets for QMP. */
  readonly monitors: readonly string[];
  readonly devices: readonly QtestDevice[];
  readonly ramSize: number;
  /** The release of QEMU that the test seems to belong to: later ones ask for `-audio none`. */
  readonly release: QemuRelease;
}

const MIB = 1 << 20;

/** Read QEMU's command line. Throws UserError for what it does not know. */
export function parseQtestArguments(argv: readonly string[]): QtestArguments {
  const chardevs = new Map<string, string>();
  const monitorIds: string[] = [];
  const devices: QtestDevice[] = [];
  let qtest: string | undefined;
  let log: string | undefined;
  let megabytes = 128;
  let release: QemuRelease = 7;
  for (let i = 0; i < argv.length; i++) {
    const option = argv[i]!.replace(/^--/, '-');
    if (IGNORED_ALONE.has(option)) continue;
    const value = argv[++i];
    if (value === undefined) throw new UserError(`${option}: expected a value after it; see --help`);
    if (option === '-qtest') qtest = value;
    else if (option === '-qtest-log') log = value;
    else if (option === '-m') megabytes = Number(/^(?:size=)?(\d+)M?$/.exec(value)?.[1] ?? Number.NaN);
    else if (option === '-chardev') {
      const { path, id } = suboptions(value);
      if (!value.startsWith('socket,') || !path || !id) throw new UserError(`-chardev ${value}: expected socket,path=PATH,id=ID`);
      chardevs.set(id, path);
    } else if (option === '-mon') {
      const { chardev, mode } = suboptions(value);
      if (!chardev || mode !== 'control') throw new UserError(`-mon ${value}: expected chardev=ID,mode=control`);
      monitorIds.push(chardev);
    } else if (option === '-device') devices.push(parseDevice(value));
    else if (option === '-audio') release = 10;
    else if (!IGNORED.has(option)) throw new UserError(`${option}: unknown option; see --help`);
  }
  if (qtest === undefined) throw new UserError('-qtest is missing: expected unix:PATH or stdio; see --help');
  if (qtest !== 'stdio' && !qtest.startsWith('unix:')) throw new UserError(`-qtest ${qtest}: expected unix:PATH or stdio`);
  if (!(megabytes >= 1 && megabytes <= 2048)) throw new UserError('-m: expected 1 to 2048 megabytes');
  const monitors = monitorIds.map((id) => {
    const path = chardevs.get(id);
    if (path === undefined) throw new UserError(`-mon chardev=${id}: no -chardev has this id`);
    return path;
  });
  return { qtest, log, monitors, devices, ramSize: megabytes * MIB, release };
}

function suboptions(text: string): Partial<Record<string, string>> {
  return Object.fromEntries(
    text
      .split(',')
      .filter((part) => part.includes('='))
      .map((part) => part.split(/=(.*)/s).slice(0, 2) as [string, string]),
  );
}

function parseDevice(text: string): QtestDevice {
  const model = text.split(',')[0]!;
  const { addr } = suboptions(text);
  if (addr === undefined) return { model };
  const place = /^(?:0x)?([0-9a-f]{1,2})(?:\.([0-7]))?$/i.exec(addr);
  const device = place ? Number.parseInt(place[1]!, 16) : Number.NaN;
  if (!place || device > 31) throw new UserError(`-device ${text}: addr=${addr}: expected DEVICE.FUNCTION, for example 04.0`);
  return { model, at: (device << 3) | Number(place[2] ?? 0) };
}

/** Start and serve; resolves when the test has closed its end or asked to quit. */
export async function runQtest(args: QtestArguments): Promise<void> {
  const machine = new QtestMachine(args.ramSize, args.devices);
  const ends: (() => void)[] = [];
  const done = new Promise<void>((resolve) => ends.push(resolve));
  const end = (): void => ends.forEach((e) => e());
  const log = args.log === undefined || args.log === '/dev/null' ? undefined : openLog(args.log);

  const stdio = args.qtest === 'stdio';
  const socket = stdio ? undefined : await open(args.qtest.slice('unix:'.length));
  const output: Writable = socket ?? process.stdout;
  const protocol = new QtestProtocol(machine, (line) => {
    if (log !== undefined) writeSync(log, `[S] ${line}\n`);
    output.write(`${line}\n`);
  });
  const monitors: Qmp[] = [];
  const sockets: Socket[] = socket ? [socket] : [];
  for (const path of args.monitors) {
    const monitor = await open(path);
    sockets.push(monitor);
    const qmp = new Qmp({ reset: () => machine.reset(), quit: end }, (line) => monitor.write(`${line}\r\n`), args.release);
    monitors.push(qmp);
    lines(monitor, (line) => qmp.request(line), end);
  }
  machine.resets.add(() => monitors.forEach((qmp) => qmp.event('RESET', { guest: true, reason: 'guest-reset' })));
  machine.powerOffs.add(() => monitors.forEach((qmp) => qmp.event('SHUTDOWN', { guest: true, reason: 'guest-shutdown' })));
  lines(
    socket ?? process.stdin,
    (line) => {
      if (log !== undefined) writeSync(log, `[R] ${line}\n`);
      protocol.request(line);
    },
    end,
  );
  await done;
  for (const s of sockets) s.destroy();
}

function openLog(path: string): number {
  try {
    return openSync(path, 'a');
  } catch (error) {
    throw new UserError(`-qtest-log ${path}: cannot be written: ${(error as Error).message}`);
  }
}

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', (error) =>
      reject(new UserError(`cannot connect to ${path}: ${error.message}; the test must listen there first`)),
    );
  });
}

function lines(input: Readable, take: (line: string) => void, end: () => void): void {
  createInterface({ input, crlfDelay: Infinity }).on('line', take).on('close', end);
  input.on('error', end);
}
