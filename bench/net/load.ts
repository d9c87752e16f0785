/**
 * Load on a guest's NIC: a flood of pings, bytes from the host and the same bytes back, the interface down and up. The
 * wire's other end is passt, reached through a relay here that counts frames and answers echo requests itself (passt needs
 * the kernel's leave to ping). The same for this machine and for QEMU, with the same kernel, initramfs and peer.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vifsFor } from '../../src/machine/guest-config.ts';
import { readCapture } from '../../src/analyze/sources/pcap.ts';
import { guestCommandLine, type GuestImages } from '../../src/machine/guest.ts';
import { be16, putBe16, withoutPadding } from '../../src/net/frame.ts';
import { StreamDeframer } from '../../src/net/stream-node.ts';
import { processorSeconds } from '../machine/measure.ts';
import { type Span, threadStages, type ThreadStages } from './stages.ts';

const root = join(import.meta.dirname, '../..');
const GUEST_MIB = 512;

export interface LoadOptions {
  readonly machine: 'xenolith' | 'qemu';
  /** One of guestDrivers; it chooses the NIC too. */
  readonly driver: string;
  readonly images: GuestImages;
  /** Bytes each way. */
  readonly bytes: number;
  readonly pings: number;
  /** Also capture the wire and count the frames of the capture (this machine alone). */
  readonly capture?: boolean;
  /** Also profile this machine's threads while bytes move. */
  readonly stages?: boolean;
  /** Placement of this machine's device model; left out: the program's own choice. */
  readonly deviceModel?: string;
  readonly timeoutMs?: number;
}

/** Frames into the NIC and out of it. */
export interface FrameCounts {
  readonly rx: number;
  readonly tx: number;
}

export interface LoadReport {
  readonly console: string;
  /** SHA-256 of what the host sent, of what the guest says it got, of what came back. */
  readonly sha256: { readonly sent: string; readonly guest: string; readonly returned: string };
  /** Seconds from the connection to its end: to the guest, and from it. */
  readonly seconds: { readonly download: number; readonly upload: number };
  /** Processor seconds of the machine's process in the same time. */
  readonly processor: { readonly download: number; readonly upload: number };
  readonly pings: {
    readonly sent: number;
    readonly received: number;
    readonly minMs: number;
    readonly avgMs: number;
    readonly maxMs: number;
  };
  /** From /sys/class/net of the guest. */
  readonly driver: Readonly<Record<string, number>>;
  /** This machine alone: the chip's counters, the hub port's, the capture's frames, frames lost before the socket. */
  readonly chip?: Readonly<Record<string, number>>;
  readonly wire?: FrameCounts;
  readonly capture?: FrameCounts;
  readonly socketDrops?: number;
  /** Times the wire waited for the NIC, and times it gave up waiting. */
  readonly pauses?: { readonly begun: number; readonly expired: number };
  readonly instructions?: number;
  readonly stages?: { readonly download: ThreadStages; readonly upload: ThreadStages };
}

/** The host's two TCP services: one sends `data`, the other takes as many bytes back. */
class TransferPeer {
  port = 0;
  download: Span = { fromUs: 0, toUs: 0 };
  upload: Span = { fromUs: 0, toUs: 0 };
  returned = '';
  /** Processor seconds of the machine so far, and what the two transfers took of them. */
  processorNow: () => number = () => 0;
  readonly processor = { download: 0, upload: 0 };
  private readonly servers: Server[] = [];
  private readonly data: Uint8Array;

  constructor(data: Uint8Array) {
    this.data = data;
  }

  /** Two neighbouring ports of the loopback. */
  async listen(): Promise<void> {
    for (let tries = 0; tries < 20; tries++) {
      const send = createServer((socket) => this.send(socket));
      const take = createServer((socket) => this.take(socket));
      const port = await listenOn(send, 0);
      if (port !== undefined && (await listenOn(take, port + 1)) !== undefined) {
        this.port = port;
        this.servers.push(send, take);
        return;
      }
      send.close();
    }
    throw new Error('no two neighbouring ports are free');
  }

  close(): void {
    for (const server of this.servers) server.close();
  }

  private send(socket: Socket): void {
    const fromUs = nowUs();
    const before = this.processorNow();
    socket.on('error', () => {});
    // The guest closes its side when it has read everything.
    socket.on('close', () => {
      this.download = { fromUs, toUs: nowUs() };
      this.processor.download = this.processorNow() - before;
    });
    socket.resume();
    socket.end(this.data);
  }

  private take(socket: Socket): void {
    const fromUs = nowUs();
    const before = this.processorNow();
    const hash = createHash('sha256');
    let left = this.data.length;
    socket.on('error', () => {});
    // passt resets a connection after 24 s on which nothing was ever sent to the guest.
    socket.write('ready\n');
    socket.on('data', (bytes: Uint8Array) => {
      hash.update(bytes);
      left -= bytes.length;
      if (left > 0) return;
      this.upload = { fromUs, toUs: nowUs() };
      this.processor.upload = this.processorNow() - before;
      this.returned = hash.digest('hex');
      socket.end();
    });
  }
}

const nowUs = (): number => Number(process.hrtime.bigint()) / 1000;
const seconds = ({ fromUs, toUs }: Span): number => (toUs - fromUs) / 1e6;

const listenOn = (server: Server, port: number): Promise<number | undefined> =>
  new Promise((resolve) => {
    server.once('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });

/** ICMP echo request (IPv4, whole) to its reply, in place. */
function answerEcho(frame: Uint8Array): boolean {
  const isEcho =
    frame.length >= 42 &&
    be16(frame, 12) === 0x0800 &&
    frame[14] === 0x45 &&
    frame[23] === 1 &&
    frame[34] === 8 &&
    (be16(frame, 20) & 0x3fff) === 0;
  if (!isEcho) return false;
  const swap = (at: number, to: number, length: number): void => {
    // A socket's bytes are a Buffer, whose slice() would be no copy.
    const kept = Uint8Array.from(frame.subarray(at, at + length));
    frame.copyWithin(at, to, to + length);
    frame.set(kept, to);
  };
  swap(0, 6, 6);
  swap(26, 30, 4);
  frame[34] = 0;
  const sum = be16(frame, 36) + 0x0800;
  putBe16(frame, 36, (sum & 0xffff) + (sum >>> 16));
  return true;
}

/**
 * Passes on what a guest sends, but for an acknowledgement that says again what the one before of its connection said: three of these
 * have passt send everything again that it ever sent and saw unacknowledged, which a slow guest answers by more of them. They ask for
 * frames that were lost, and this wire loses none.
 */
function withoutRepeatedAcks(): (frame: Uint8Array) => boolean {
  const last = new Map<string, string>();
  return (frame) => {
    const ip = 14 + (frame[14]! & 15) * 4;
    if (be16(frame, 12) !== 0x0800 || frame[23] !== 6 || frame.length < ip + 20) return true;
    const length = 14 + be16(frame, 16) - ip - (frame[ip + 12]! >> 4) * 4;
    const connection = Buffer.from(frame.subarray(ip, ip + 4)).toString('hex');
    // Sequence and acknowledgement numbers, flags, window.
    const said = length > 0 || frame[ip + 13] !== 0x10 ? '' : Buffer.from(frame.subarray(ip + 4, ip + 16)).toString('hex');
    const isNew = said === '' || last.get(connection) !== said;
    last.set(connection, said);
    return isNew;
  };
}

const framed = (frame: Uint8Array): Uint8Array => {
  const packet = new Uint8Array(4 + frame.length);
  new DataView(packet.buffer).setUint32(0, frame.length);
  packet.set(frame, 4);
  return packet;
};

/** Listens for the machine's netdev at `path` and passes frames on to passt's socket. */
async function relay(path: string, passt: string): Promise<Server> {
  const server = createServer((machine) => {
    const peer = connect({ path: passt });
    const pass = (
      from: Socket,
      to: Socket,
      local: (frame: Uint8Array) => boolean,
      wanted: (frame: Uint8Array) => boolean = () => true,
    ): void => {
      const deframer = new StreamDeframer();
      from.on('error', () => {});
      from.on('close', () => to.destroy());
      to.on('drain', () => from.resume());
      from.on('data', (bytes: Uint8Array) => {
        deframer.push(bytes);
        const forward: Uint8Array[] = [];
        for (let frame = deframer.peek(); frame; frame = deframer.peek()) {
          if (local(frame)) from.write(framed(frame));
          // passt takes padding, which QEMU leaves on its frames, for data.
          else if (wanted(frame)) forward.push(framed(withoutPadding(frame)));
          deframer.advance();
        }
        if (forward.length > 0 && !to.write(Buffer.concat(forward))) from.pause();
      });
    };
    pass(machine, peer, answerEcho, withoutRepeatedAcks());
    pass(peer, machine, () => false);
  });
  await new Promise<void>((resolve) => server.listen({ path }, resolve));
  return server;
}

/** passt itself came to an end, which says nothing of the machine. */
export class PeerLost extends Error {}

/** Run one guest under load, to its poweroff. Throws PeerLost where passt ends before. */
export async function runLoad(options: LoadOptions): Promise<LoadReport> {
  const folder = mkdtempSync(join(tmpdir(), 'load-'));
  const data = randomBytes(options.bytes);
  const peer = new TransferPeer(data);
  const children: ChildProcess[] = [];
  let wire: Server | undefined;
  try {
    await peer.listen();
    const passt = join(folder, 'passt.sock');
    const netdev = join(folder, 'netdev.sock');
    const identity = process.getuid?.() === 0 ? ['--runas', '0:0'] : [];
    const host = spawn(
      'passt',
      ['-f', '-1', '-q', '-4', '-s', passt, '-a', '10.0.2.15', '-n', '24', '-g', '10.0.2.2', ...identity],
      { stdio: 'ignore' },
    );
    children.push(host);
    for (let i = 0; i < 200 && !existsSync(passt); i++) await new Promise((resolve) => setTimeout(resolve, 20));
    wire = await relay(netdev, passt);
    const pcap = join(folder, 'net.pcapng');
    const append = `${guestCommandLine({ driver: options.driver, mode: 'load', address: 'dhcp' })} xenolith.port=${peer.port} xenolith.pings=${options.pings}`;
    const command =
      options.machine === 'qemu'
        ? qemu(options, append, netdev)
        : xenolith(options, append, netdev, options.capture ? pcap : undefined, options.stages ? folder : undefined);
    const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    peer.processorNow = () => (child.exitCode === null ? processorSeconds(child.pid!) : NaN);
    // Without its peer the guest would go on to its timeout.
    const hostLost = new Promise<never>((_, reject) =>
      host.on('exit', (status, signal) => {
        if (signal !== null) reject(new PeerLost(`passt was ended by ${signal}`));
        else if (status !== 0) reject(new PeerLost(`passt ended with status ${status}`));
      }),
    );
    const output = await Promise.race([outputOf(child, options.timeoutMs ?? 1_800_000), hostLost]);
    const sha256 = {
      sent: createHash('sha256').update(data).digest('hex'),
      guest: /received ([0-9a-f]{64})/.exec(output)?.[1] ?? '',
      returned: peer.returned,
    };
    const report = {
      console: output,
      sha256,
      seconds: { download: seconds(peer.download), upload: seconds(peer.upload) },
      processor: peer.processor,
      pings: readPings(output),
      driver: readCounters(output),
    };
    if (options.machine === 'qemu') return report;
    const result = JSON.parse(output.slice(output.lastIndexOf('\n{') + 1)) as {
      nics: {
        statistics: Record<string, number>;
        wire: { sent: number; received: number };
        pauses: { begun: number; expired: number };
      }[];
      socketDrops: number;
      instructions: number;
    };
    const nic = result.nics[0]!;
    return {
      ...report,
      chip: nic.statistics,
      pauses: nic.pauses,
      wire: { rx: nic.wire.received, tx: nic.wire.sent },
      socketDrops: result.socketDrops,
      instructions: result.instructions,
      ...(options.capture ? { capture: countFrames(pcap) } : {}),
      ...(options.stages
        ? { stages: { download: threadStages(folder, peer.download), upload: threadStages(folder, peer.upload) } }
        : {}),
    };
  } finally {
    for (const child of children) child.kill();
    wire?.close();
    peer.close();
    rmSync(folder, { recursive: true });
  }
}

const xenolith = (
  { driver, images, deviceModel }: LoadOptions,
  append: string,
  netdev: string,
  pcap: string | undefined,
  profiles: string | undefined,
): string[] => [
  process.execPath,
  ...(profiles === undefined ? [] : ['--cpu-prof', '--cpu-prof-interval', '500', '--cpu-prof-dir', profiles]),
  join(root, 'dist/cli/main.js'),
  'run',
  '--kernel',
  images.vmlinux,
  '--initrd',
  images.initrd,
  '--append',
  append,
  '--memory',
  String(GUEST_MIB),
  '--driver',
  driver,
  '--netdev',
  `unix:${netdev}`,
  '--timeout',
  '3600',
  '--json',
  ...(deviceModel === undefined ? [] : ['--device-model', deviceModel]),
  ...(pcap === undefined ? [] : ['--pcap', pcap]),
];

const qemu = ({ driver, images }: LoadOptions, append: string, netdev: string): string[] => [
  'qemu-system-x86_64',
  '-accel',
  'tcg',
  '-m',
  String(GUEST_MIB),
  '-nodefaults',
  '-display',
  'none',
  '-serial',
  'stdio',
  '-no-reboot',
  '-kernel',
  images.vmlinuz,
  '-initrd',
  images.initrd,
  '-append',
  append,
  '-netdev',
  `stream,id=wire,server=off,addr.type=unix,addr.path=${netdev}`,
  '-device',
  `${vifsFor([driver])[0]!.model},netdev=wire`,
];

function outputOf(child: ChildProcess, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => {
      child.kill();
      reject(new Error(`no end after ${timeoutMs / 1000} s; the console so far:\n${text}`));
    }, timeoutMs);
    child.stdout!.on('data', (bytes: Uint8Array) => (text += Buffer.from(bytes).toString('latin1')));
    child.on('error', reject);
    child.on('close', () => {
      clearTimeout(timer);
      resolve(text.replaceAll('\r', ''));
    });
  });
}

function readPings(output: string): LoadReport['pings'] {
  const [, sent, received] = /(\d+) packets transmitted, (\d+) packets received/.exec(output) ?? [];
  const [, minMs, avgMs, maxMs] = /round-trip min\/avg\/max = ([\d.]+)\/([\d.]+)\/([\d.]+) ms/.exec(output) ?? [];
  return { sent: Number(sent), received: Number(received), minMs: Number(minMs), avgMs: Number(avgMs), maxMs: Number(maxMs) };
}

const readCounters = (output: string): Record<string, number> =>
  Object.fromEntries([...output.matchAll(/^guest: ([rt]x_\w+)=(\d+)$/gm)].map(([, name, value]) => [name!, Number(value)]));

function countFrames(path: string): FrameCounts {
  const { frames } = readCapture(readFileSync(path), path);
  const rx = frames.filter((frame) => frame.direction === 'inbound').length;
  return { rx, tx: frames.length - rx };
}

/**
 * The driver e1000 takes its counts from GPRC and GPTC. As in QEMU these are copies of TPR and TPT, made with each frame; the driver
 * reads, and so clears, the four at four moments, and what moves between them is counted twice or not at all.
 */
const countsOfItsOwn = (driver: string): boolean => driver !== 'e1000';

/** What in a report of `driverName` does not agree: checksums, pings, and the counters of driver, chip, wire and capture. */
export function loadDisagreements(driverName: string, { sha256, pings, driver, chip, wire, capture }: LoadReport): string[] {
  const wrong: string[] = [];
  if (sha256.guest !== sha256.sent || sha256.returned !== sha256.sent)
    wrong.push(`SHA-256: sent ${sha256.sent}, guest ${sha256.guest}, returned ${sha256.returned}`);
  if (!(pings.sent > 0) || pings.sent !== pings.received) wrong.push(`pings: ${pings.received} of ${pings.sent} came back`);
  if (chip === undefined || wire === undefined) return wrong;
  for (const direction of ['rx', 'tx'] as const) {
    // A frame for which the ring had no descriptor crossed the wire and was dropped by the chip, which counts it.
    const dropped = direction === 'rx' ? chip.rx_no_room! + chip.rx_filtered! : 0;
    // 8139cp counts a large send once, the chip each of its segments; a chip that cuts none has no such counters.
    const segments = direction === 'tx' ? (chip.tx_segments ?? 0) - (chip.tx_large_sends ?? 0) : 0;
    const counts: Record<string, number | undefined> = {
      ...(countsOfItsOwn(driverName)
        ? { [segments ? 'driver and further segments' : 'driver']: driver[`${direction}_packets`]! + segments }
        : {}),
      chip: chip[`${direction}_packets`],
      'wire without drops': wire[direction] - dropped,
      ...(capture ? { 'capture without drops': capture[direction] - dropped } : {}),
    };
    if (new Set(Object.values(counts)).size !== 1)
      wrong.push(
        `${direction} frames: ${Object.entries(counts)
          .map(([who, count]) => `${who} ${count}`)
          .join(', ')}`,
      );
  }
  return wrong;
}
