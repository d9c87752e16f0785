/**
 * Runs of a small host, written as xentrace, the device models' logs and a capture of the bridge: several guests, each with its
 * own NICs, some at equal guest-physical addresses. What they did is known here, so that stories can be checked against it.
 */
import {
  runstateChangeEvent,
  RUNSTATE_BLOCKED,
  RUNSTATE_OFFLINE,
  RUNSTATE_RUNNABLE,
  RUNSTATE_RUNNING,
  TRC_HVM_INJ_VIRQ,
  TRC_HVM_IOMEM_READ,
  TRC_HVM_IOMEM_WRITE,
  TRC_HVM_IOPORT_WRITE,
  TRC_HVM_NPF,
  TRC_HVM_VMENTRY,
  TRC_HVM_VMEXIT64,
} from '../../src/trace/events.ts';
import { encodeRecord, NO_TSC, TraceWindowWriter } from '../../src/trace/writer.ts';

/** A NIC of a guest. `other`: one that no reader knows, with a doorbell at 0x3818. */
export interface ScenarioNic {
  readonly chip: 'rtl8139-cplus' | 'rtl8139-c' | 'other';
  readonly base: number;
  readonly mac: string;
}

export interface ScenarioGuest {
  readonly dom: number;
  readonly nics: readonly ScenarioNic[];
  /** Frames that each NIC sends, and receives. */
  readonly packets: number;
  /** Its device model prints the chip's region name so. */
  readonly region?: string;
}

export interface Scenario {
  readonly trace: Uint8Array<ArrayBuffer>;
  /** TSC ticks a second. */
  readonly hz: number;
  readonly logs: ReadonlyMap<number, string>;
  readonly pcap: Uint8Array<ArrayBuffer>;
  readonly guests: readonly ScenarioGuest[];
}

const HZ = 2_000_000_000;
const TICKS = HZ / 1e9;
const GUEST_CPU = 1;
const EPT_VIOLATION = 48;
const IO_INSTRUCTION = 30;

interface Written {
  readonly cpu: number;
  readonly ns: number;
  readonly event: number;
  readonly words: readonly number[];
  readonly timed: boolean;
}

class Host {
  /** Nanoseconds since the trace began. */
  now = 1_000_000;
  readonly records: Written[] = [];
  readonly frames: { ns: number; data: Uint8Array }[] = [];
  readonly logs = new Map<number, string[]>();
  private readonly epochS: number;
  private readonly random: () => number;

  constructor(seed: number, epochS: number) {
    this.epochS = epochS;
    let state = (seed * 2654435761) >>> 0 || 1;
    this.random = () => {
      state ^= state << 13;
      state >>>= 0;
      state ^= state >>> 17;
      state ^= state << 5;
      state >>>= 0;
      return state / 2 ** 32;
    };
  }

  pass(ns: number): void {
    this.now += Math.round(ns * (0.7 + 0.6 * this.random()));
  }

  record(cpu: number, event: number, words: readonly number[], timed = true): void {
    this.records.push({ cpu, ns: this.now, event, words, timed });
  }

  runstate(cpu: number, dom: number, from: number, to: number): void {
    this.record(cpu, runstateChangeEvent(from, to), [(dom << 16) >>> 0]);
  }

  log(dom: number, text: string): void {
    const s = this.epochS + Math.floor(this.now / 1e9);
    const us = Math.floor((this.now % 1e9) / 1000);
    let lines = this.logs.get(dom);
    if (lines === undefined) this.logs.set(dom, (lines = []));
    lines.push(`${300 + dom}@${s}.${String(us).padStart(6, '0')}:${text}`);
  }

  frame(data: Uint8Array): void {
    this.frames.push({ ns: this.epochS * 1e9 + this.now, data });
  }

  get epoch(): number {
    return this.epochS;
  }
}

const hex = (n: number | bigint): string => `0x${n.toString(16)}`;
const bytesOf = (mac: string): number[] => mac.split(':').map((b) => parseInt(b, 16));

/** An experimental-ethertype frame with a number in it. */
function frameOf(from: string, to: string, n: number, length: number): Uint8Array {
  const data = new Uint8Array(length);
  data.set([...bytesOf(to), ...bytesOf(from), 0x88, 0xb5, n >>> 8, n & 0xff]);
  return data;
}

/** A station that is no guest's. */
const STRANGER = '02:00:00:00:00:99';

/** What the device model does for a register, between taking the request and answering it. */
type Serve = () => void;

class GuestDriver {
  private readonly host: Host;
  private readonly guest: ScenarioGuest;
  private readonly cpu: number;
  private readonly places = new Map<ScenarioNic, { tx: number; rx: number; next: number; received: number }>();

  constructor(host: Host, guest: ScenarioGuest, cpu: number) {
    this.host = host;
    this.guest = guest;
    this.cpu = cpu;
    guest.nics.forEach((nic, i) => {
      this.places.set(nic, {
        tx: 0x4000000 + 0x1000 * i + 0x100000 * guest.dom,
        rx: 0x4080000 + 0x1000 * i,
        next: 0,
        received: 0,
      });
    });
    host.runstate(cpu, guest.dom, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING);
  }

  /** One access that the guest's device model serves. */
  private access(
    dir: 'read' | 'write',
    addr: number,
    size: number,
    data: number,
    region: string,
    serve?: Serve,
    space: 'mmio' | 'pio' = 'mmio',
  ): void {
    const { host, cpu, guest } = this;
    const { dom } = guest;
    host.pass(3000);
    host.record(cpu, TRC_HVM_VMEXIT64, [
      space === 'mmio' ? EPT_VIOLATION : IO_INSTRUCTION,
      0x81000000 + (addr & 0xffff),
      0xffffffff,
    ]);
    const io = (): void => {
      if (space === 'pio') host.record(cpu, TRC_HVM_IOPORT_WRITE, [addr, data], false);
      else host.record(cpu, dir === 'write' ? TRC_HVM_IOMEM_WRITE : TRC_HVM_IOMEM_READ, [addr, data], false);
    };
    if (dir === 'write') io();
    host.pass(800);
    host.runstate(cpu, 0, RUNSTATE_BLOCKED, RUNSTATE_RUNNABLE);
    if (space === 'mmio') host.record(cpu, TRC_HVM_NPF, [addr, 0, 0xffffffff, 0xffffffff, dir === 'write' ? 2 : 1, 4], false);
    host.pass(200);
    host.runstate(cpu, dom, RUNSTATE_RUNNING, RUNSTATE_OFFLINE);
    host.pass(1500);
    host.runstate(0, 0, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING);
    host.pass(2000);
    const type = space === 'mmio' ? 1 : 0;
    const tail = `type=${type} dir=${dir === 'read' ? 1 : 0} df=0 ptr=0 port=${hex(addr)} data=${hex(dir === 'read' ? 0 : data)} count=1 size=${size}`;
    host.log(dom, `handle_ioreq I/O=0x7ffd0000 ${tail}`);
    host.pass(700);
    host.log(dom, `memory_region_ops_${dir} cpu -1 mr 0x55d0 addr ${hex(addr)} value ${hex(data)} size ${size} name '${region}'`);
    host.pass(500);
    serve?.();
    if (dir === 'read') {
      host.log(
        dom,
        `handle_ioreq_read I/O=0x7ffd0000 read type=${type} df=0 ptr=0 port=${hex(addr)} data=${hex(data)} count=1 size=${size}`,
      );
      host.pass(300);
    }
    host.pass(900);
    host.runstate(0, dom, RUNSTATE_OFFLINE, RUNSTATE_RUNNABLE);
    host.runstate(0, 0, RUNSTATE_RUNNING, RUNSTATE_BLOCKED);
    host.pass(700);
    host.runstate(cpu, dom, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING);
    host.pass(300);
    if (dir === 'read') io();
    host.record(cpu, TRC_HVM_VMENTRY, []);
  }

  private regionOf(nic: ScenarioNic): string {
    return nic.chip === 'other' ? (this.guest.region ?? 'toy-mmio') : 'rtl8139';
  }

  private write(nic: ScenarioNic, offset: number, size: number, data: number, serve?: Serve): void {
    this.access('write', nic.base + offset, size, data, this.regionOf(nic), serve);
  }

  private map(gpa: number): void {
    const { host, guest } = this;
    host.log(guest.dom, `xen_map_cache want ${hex(gpa)}`);
    host.pass(150);
    host.log(guest.dom, `xen_map_cache_return ${hex(0x7f0000000000 + guest.dom * 0x100000000 + gpa)}`);
    host.pass(150);
  }

  /** Says on the serial port who it is, and sets its NICs up. */
  start(): void {
    for (const c of `guest ${this.guest.dom} starts its network\n`)
      this.access('write', 0x3f8, 1, c.charCodeAt(0), 'serial', undefined, 'pio');
    for (const nic of this.guest.nics) {
      const { tx, rx } = this.places.get(nic)!;
      if (nic.chip === 'rtl8139-cplus') {
        this.write(nic, 0xe0, 2, 0x2b);
        this.write(nic, 0x24, 4, 0);
        this.write(nic, 0x20, 4, tx);
        this.write(nic, 0xe8, 4, 0);
        this.write(nic, 0xe4, 4, rx);
        this.write(nic, 0x3c, 2, 0x80ff);
      } else if (nic.chip === 'rtl8139-c') {
        this.write(nic, 0x30, 4, rx);
        for (let i = 0; i < 4; i++) this.write(nic, 0x20 + 4 * i, 4, tx + 0x800 * i);
        this.write(nic, 0x3c, 2, 0x7f);
      } else {
        this.write(nic, 0x3800, 4, tx);
        this.write(nic, 0xd9, 1, 0x40); // no register of this chip: an RTL8139's doorbell
        this.write(nic, 0x3e, 2, 0x5);
      }
    }
  }

  send(nic: ScenarioNic, n: number): void {
    const { host } = this;
    const place = this.places.get(nic)!;
    const length = 60 + (n % 7) * 30;
    const frame = frameOf(nic.mac, 'ff:ff:ff:ff:ff:ff', n, length);
    const buffer = 0x5000000 + 0x800 * (n % 64);
    if (nic.chip === 'rtl8139-c') {
      const i = place.next++ % 4;
      this.write(nic, 0x10 + 4 * i, 4, 0x80000 + length, () => {
        this.map(place.tx + 0x800 * i);
        host.pass(400);
        host.frame(frame);
        host.pass(600);
      });
    } else {
      const at = place.tx + 16 * (place.next % 64);
      place.next = (place.next + 1) % 64;
      const [offset, size, data] = nic.chip === 'rtl8139-cplus' ? [0xd9, 1, 0x40] : [0x3818, 4, place.next];
      this.write(nic, offset!, size!, data!, () => {
        this.map(at);
        this.map(buffer);
        host.pass(400);
        // Others on the bridge send when they like.
        if (nic.chip === 'rtl8139-cplus' && n % 4 === 1) host.frame(frameOf(STRANGER, '02:00:00:00:00:98', n, length));
        host.pass(100);
        host.frame(frame);
        host.pass(600);
        this.map(at + (nic.chip === 'rtl8139-cplus' ? 0 : 12));
        this.map(place.tx + 16 * place.next);
      });
    }
    this.interrupt(nic, 4);
  }

  /** A frame for the guest: the device model takes it in on its own. */
  receive(nic: ScenarioNic, n: number): void {
    const { host, guest } = this;
    host.pass(20_000);
    host.frame(frameOf('fe:ff:ff:ff:ff:fe', nic.mac, n, 64 + (n % 5) * 20));
    host.pass(3000);
    const place = this.places.get(nic)!;
    if (nic.chip !== 'rtl8139-c') {
      this.map(place.rx + 16 * place.received);
      this.map(0x5800000 + 0x1000 * guest.dom + 0x40 * (n % 32));
      this.map(place.rx + 16 * place.received);
      place.received = (place.received + 1) % 64;
    } else this.map(place.rx);
    host.pass(4000);
    this.interrupt(nic, 1);
  }

  private interrupt(nic: ScenarioNic, status: number): void {
    const { host, cpu } = this;
    host.pass(5000);
    host.record(cpu, TRC_HVM_VMEXIT64, [1, 0x81000000, 0xffffffff]);
    host.record(cpu, TRC_HVM_INJ_VIRQ, [0x31, 0], false);
    host.pass(300);
    host.record(cpu, TRC_HVM_VMENTRY, []);
    const offset = nic.chip === 'other' ? 0xc0 : 0x3e;
    this.access('read', nic.base + offset, nic.chip === 'other' ? 4 : 2, status, this.regionOf(nic));
    if (nic.chip !== 'other') this.write(nic, 0x3e, 2, status);
  }
}

/** Runs a host with guests and gives what it left. */
export function runScenario(guests: readonly ScenarioGuest[], seed = 1, epochS = 1_750_000_000): Scenario {
  const host = new Host(seed, epochS);
  const drivers = guests.map((g, i) => ({ guest: g, driver: new GuestDriver(host, g, GUEST_CPU + i) }));
  for (const { driver } of drivers) driver.start();
  let n = 1;
  const most = Math.max(...guests.map((g) => g.packets));
  for (let round = 0; round < most; round++)
    for (const { guest, driver } of drivers)
      for (const nic of guest.nics) {
        if (round >= guest.packets) continue;
        driver.send(nic, n++);
        if (round % 2 === 1) driver.receive(nic, n++);
        host.pass(200_000 + 137_000 * (n % 11));
      }
  return {
    trace: traceOf(host, guests.length + GUEST_CPU),
    hz: HZ,
    logs: new Map([...host.logs].map(([dom, lines]) => [dom, `${lines.join('\n')}\n`])),
    pcap: pcapOf(host),
    guests,
  };
}

function traceOf(host: Host, cpus: number): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const writer = new TraceWindowWriter((bytes) => void parts.push(Uint8Array.from(bytes)));
  const words = new Int32Array(16384);
  for (let cpu = 0; cpu < cpus; cpu++) {
    let at = 0;
    const flush = (): void => {
      writer.window(cpu, new Uint8Array(words.buffer, 0, at * 4));
      at = 0;
    };
    for (const r of host.records.filter((x) => x.cpu === cpu)) {
      at +=
        encodeRecord(
          words,
          at,
          r.event,
          r.timed ? 1_000_000 + r.ns * TICKS : NO_TSC,
          r.words.length,
          ...r.words.map((w) => w | 0),
        ) / 4;
      if (at > words.length - 64) flush();
    }
    flush();
  }
  return Uint8Array.from(Buffer.concat(parts));
}

function pcapOf(host: Host): Uint8Array<ArrayBuffer> {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(65535, 16);
  head.writeUInt32LE(1, 20);
  const frames = host.frames.map(({ ns, data }) => {
    const r = Buffer.alloc(16);
    const inside = ns - host.epoch * 1e9;
    r.writeUInt32LE(host.epoch + Math.floor(inside / 1e9), 0);
    r.writeUInt32LE(Math.floor((inside % 1e9) / 1000), 4);
    r.writeUInt32LE(data.length, 8);
    r.writeUInt32LE(data.length, 12);
    return Buffer.concat([r, data]);
  });
  return Uint8Array.from(Buffer.concat([head, ...frames]));
}
