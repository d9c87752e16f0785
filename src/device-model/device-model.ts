/**
 * The device model: dom0's qemu-dm for one domain. It is handed memory, a hypercall table and a clock, and puts
 * the machine's chipset, NICs, wire, map cache and ioreq server together. It is driven from outside: turn() does what
 * there is to do now, runUntilIdle() until nothing is left, both on the caller's thread; worker-loop.ts drives it on a
 * thread of its own.
 */
import { IoRangeType, type DeviceModelHypercalls } from '../abi/dm-op.ts';
import { ShutdownReason } from '../abi/sched.ts';
import { xenMapPcidev } from '../abi/dm-log-lines.ts';
import type { Clock } from '../base/clock.ts';
import { UserError } from '../base/errors.ts';
import { Listeners } from '../base/listeners.ts';
import { restoreSaved, type Saved, saved, type Snapshot } from '../base/snapshot.ts';
import { VGA_HOLE_BASE } from '../base/vga.ts';
import { silentLogger, type Logger } from '../base/logger.ts';
import { PLATFORM_LOG_PORT, debugPort } from '../devices/debug-port.ts';
import { type IoRegion, IoSpace } from '../devices/io-space.ts';
import { PciBus, devfn } from '../devices/pci/bus.ts';
import { HostBridge } from '../devices/pci/host-bridge.ts';
import type { DeviceState } from '../devices/pci/pci-device.ts';
import { Piix3 } from '../devices/pci/piix3.ts';
import { Piix4Pm } from '../devices/pci/piix4-pm.ts';
import { Uart16550 } from '../devices/serial/uart16550.ts';
import { type TestDeviceOptions, testDevices } from '../devices/test-devices.ts';
import { VgaLowmem } from '../devices/vga/lowmem.ts';
import { Dom0Endpoint, type Dom0EndpointOptions } from '../net/dom0-endpoint.ts';
import { FrameRingConsumer, FrameRingProducer, type FrameSource } from '../net/frame-ring.ts';
import { type FrameDirection, Hub, type HubPort } from '../net/hub.ts';
import type { PcapngWriter } from '../net/pcapng.ts';
import { RingPort } from '../net/ring-port.ts';
import { Dma, type DmaCounters, type RamReadHook, type RamWriteHook } from './dma.ts';
import { EventChannels } from './event-channels.ts';
import { IoRanges } from './io-ranges.ts';
import { IoreqDispatch, describeIoreq } from './ioreq.ts';
import { IoreqServer } from './ioreq-server.ts';
import type { DmLog, DmLogForm } from './log.ts';
import { MapCache } from './map-cache.ts';
import { NicPort } from './nic-port.ts';
import { nicModel, type NicOptions } from './nics.ts';
import { TimerList } from './timers.ts';
import { PciTrace, RegionTrace, type RegionTraceState } from './trace-probes.ts';

const COM1_PORT = 0x3f8;
const COM1_IRQ = 4;
const FIRST_NIC_DEVICE = 3;
/** Turns that runUntilIdle() takes at most: parties on the wire could answer each other for ever. */
const TURN_LIMIT = 10_000;
const CONSOLE_BUFFER = 4096;
/** Frames that wait for room in a NIC from which on none is taken from the socket. */
const SOCKET_WAITING_LIMIT = 64;

/** A device of whoever put the machine together. */
export interface PlacedDevice {
  readonly space: 'port' | 'memory';
  /** First port, or guest-physical address, that it decodes. */
  readonly base: number;
  readonly region: IoRegion;
}

/** A frame that crossed a NIC's cable; one object is filled again and again. */
export interface CrossedFrame {
  /** Which NIC, from 0. */
  nic: number;
  /** As the NIC sees it. */
  direction: FrameDirection;
  /** When, in nanoseconds of the clock. */
  atNs: number;
  /** Valid during the call. */
  frame: Uint8Array;
}

/** What came from outside: a frame for the wire of a NIC, or characters for COM1. */
interface Input {
  readonly nic: number;
  readonly bytes: Uint8Array;
}
const CONSOLE = -1;

/** A machine that writes no log has not numbered its regions. */
const NO_REGIONS: Snapshot<RegionTraceState> = {
  kind: 'regions of the log',
  version: 1,
  save: () => ({ seen: [] }),
  restore: () => {},
};

/** A pair of rings to a party on another thread (net/frame-ring.ts). */
export interface RingPair {
  readonly fromMachine: SharedArrayBuffer;
  readonly toMachine: SharedArrayBuffer;
}

/** The party behind a socket, when its frames come out of a recording or by way of one. */
export interface RecordedSocket {
  /** A ring for what the guest sends; left out: nobody listens. */
  readonly fromMachine?: SharedArrayBuffer;
  readonly source: FrameSource;
}

export interface DeviceModelOptions {
  readonly memory: WebAssembly.Memory;
  readonly hypercalls: DeviceModelHypercalls;
  readonly clock: Clock;
  readonly logger?: Logger;
  /** The trace-event or classic log; left out: no line is formed. */
  readonly log?: DmLog | undefined;
  readonly nics: readonly NicOptions[];
  /** The dom0 endpoint on the wire; null: none, the wire's other end is `socket`. */
  readonly endpoint?: Partial<Dom0EndpointOptions> | null;
  /** A backend on another thread, for example a stream socket. */
  readonly socket?: RingPair | RecordedSocket;
  /** Records what crosses the NICs' ports, each on the interface of its number. */
  readonly pcap?: PcapngWriter;
  /** Nanoseconds a frame is on its way. */
  readonly wireLatencyNs?: number;
  /** Characters the guest wrote to COM1 or to the platform log port, gathered. */
  readonly console?: (bytes: Uint8Array) => void;
  /** Characters for COM1 from another thread, each "frame" some bytes. */
  readonly consoleInput?: SharedArrayBuffer | FrameSource;
  /** Devices beside the machine's own. */
  readonly devices?: readonly PlacedDevice[];
  /** The devices of test programs (devices/test-devices.ts) are there too. */
  readonly testDevices?: TestDeviceOptions;
  /** Called after a device wrote guest RAM. */
  readonly onRamWrite?: RamWriteHook;
  /** Called after a device read guest RAM. */
  readonly onRamRead?: RamReadHook;
}

/** Everything a guest could notice, and what makes the next line of the log what it is: one state a part. */
export interface DeviceModelState {
  readonly parts: Readonly<Record<string, Saved>>;
}

export class DeviceModel implements Snapshot<DeviceModelState> {
  readonly kind = 'device model';
  readonly version = 2;
  readonly ports: IoSpace;
  readonly memory: IoSpace;
  readonly pci: PciBus;
  readonly uart: Uart16550;
  readonly vga = new VgaLowmem();
  /** The wire that the dom0 endpoint and most NICs are on. */
  readonly hub: Hub;
  /** Every frame that crosses a NIC's cable. */
  readonly frames = new Listeners<CrossedFrame>();
  readonly nics: readonly NicPort[];
  readonly mapCache: MapCache;
  readonly dma: Dma;
  readonly server: IoreqServer;
  /** A test program asked for this exit status. */
  exitStatus: number | undefined;
  private readonly o: DeviceModelOptions;
  private readonly regions: RegionTrace | undefined;
  private readonly testParts: [string, Snapshot<unknown>][] = [];
  private readonly timers: TimerList;
  private readonly events: EventChannels;
  private readonly endpoint: Dom0Endpoint | undefined;
  private readonly socket: RingPort | undefined;
  private readonly consoleInput: FrameSource | undefined;
  /** `hub`, then the wires of NICs that have one of their own. */
  private readonly hubs: Hub[] = [];
  /** Where frames from outside come in, by wire. */
  private readonly inlets = new Map<Hub, HubPort>();
  private readonly wireOfNic: Hub[] = [];
  /** What came from outside and waits for the device model's turn. */
  private input: Input[] = [];
  private readonly crossed: CrossedFrame = { nic: 0, direction: 'outbound', atNs: 0, frame: new Uint8Array(0) };
  private readonly console = new Uint8Array(CONSOLE_BUFFER);
  private consoleLength = 0;
  /** runUntilIdle() stopped at its limit. */
  private workLeft = false;

  constructor(options: DeviceModelOptions) {
    this.o = options;
    const { hypercalls, clock, log } = options;
    const logger = options.logger ?? silentLogger;
    const { buffer } = options.memory;
    const traced = log?.traces ? log : undefined;
    const regions = traced && new RegionTrace(traced);
    this.regions = regions;
    this.ports = new IoSpace('port', regions);
    this.memory = new IoSpace('memory', regions);
    this.timers = new TimerList(clock);
    this.mapCache = new MapCache({ hypercalls, clock, log });
    this.dma = new Dma(new Uint8Array(buffer), this.mapCache, clock, options.onRamWrite, options.onRamRead);
    this.pci = new PciBus({
      ports: this.ports,
      memory: this.memory,
      dma: this.dma,
      clock: this.timers,
      setIntx: (device, intx, level) => hypercalls.setPciIntxLevel(0, 0, device, intx, level ? 1 : 0),
      probe: traced && new PciTrace(traced),
    });
    this.events = new EventChannels(buffer, hypercalls);
    const dispatch = new IoreqDispatch({
      ports: this.ports,
      memory: this.memory,
      pci: this.pci,
      dma: this.dma,
      mapCache: this.mapCache,
      clock,
      log,
    });
    this.server = new IoreqServer({
      memory: buffer,
      hypercalls,
      dispatch,
      events: this.events,
      timers: this.timers,
      clock,
      logger,
      log,
    });
    this.hub = this.newHub();

    this.uart = new Uart16550({
      setIrq: (level) => hypercalls.setIsaIrqLevel(COM1_IRQ, level ? 1 : 0),
      transmit: (byte) => this.putConsole(byte),
    });
    this.ports.add(this.uart, COM1_PORT);
    this.ports.add(
      debugPort((byte) => this.putConsole(byte)),
      PLATFORM_LOG_PORT,
    );
    this.memory.add(this.vga, VGA_HOLE_BASE);
    if (options.testDevices) this.attachTestDevices(options.testDevices);
    for (const { space, base, region } of options.devices ?? []) (space === 'port' ? this.ports : this.memory).add(region, base);
    this.attachChipset();
    const { endpoint } = options;
    this.nics = options.nics.map((nic, i) => this.attachNic(nic, i));
    if (endpoint !== null) this.endpoint = new Dom0Endpoint(this.hub, endpoint);
    if (options.socket) {
      const { fromMachine } = options.socket;
      this.socket = new RingPort(
        'socket',
        this.hub,
        fromMachine === undefined ? undefined : new FrameRingProducer(fromMachine),
        'source' in options.socket ? options.socket.source : new FrameRingConsumer(options.socket.toMachine),
      );
    }
    const { consoleInput } = options;
    if (consoleInput) this.consoleInput = 'byteLength' in consoleInput ? new FrameRingConsumer(consoleInput) : consoleInput;

    for (const space of [this.ports, this.memory]) new IoRanges(space, hypercalls, this.server.id, logger, log);
    for (const [at] of this.pci.functions) {
      if (log?.traces) log.put(xenMapPcidev, { id: this.server.id, bus: 0, dev: at >>> 3, func: at & 7 });
      hypercalls.mapIoRange(this.server.id, IoRangeType.pci, at, at);
    }
  }

  /** Begin to take requests. */
  start(): void {
    this.server.start();
  }

  /** Give the server back and hand out everything gathered. */
  stop(): void {
    this.server.stop();
    this.mapCache.invalidate();
    this.flush();
  }

  /** Do what there is to do now, a bounded piece of it. False: there was nothing. */
  turn(): boolean {
    let busy = this.takeQueued();
    if (this.events.scan() > 0) busy = true;
    if (this.timers.run()) busy = true;
    for (const nic of this.nics) if (nic.poll()) busy = true;
    for (const hub of this.hubs) if (hub.poll() > 0) busy = true;
    // While the NIC has no room the socket's frames stay in its ring, and the peer feels it.
    if (this.socket !== undefined && this.hub.waiting < SOCKET_WAITING_LIMIT && this.socket.poll() > 0) busy = true;
    if (this.consoleInput !== undefined && this.pollConsole(this.consoleInput)) busy = true;
    return busy;
  }

  /** Take turns until nothing is left to do now. False: it stopped at its limit with work left, which is due at once. */
  runUntilIdle(): boolean {
    let turns = 0;
    while (turns < TURN_LIMIT && this.turn()) turns++;
    this.workLeft = turns === TURN_LIMIT;
    this.flushConsole();
    return !this.workLeft;
  }

  /** When something is due of itself, in nanoseconds of the clock: a timer, a frame on its way, or one that waits and is to be offered again. 0: work was left. Infinity: nothing. */
  get nextDeadlineNs(): number {
    if (this.workLeft) return 0;
    let next = this.timers.nextNs;
    for (const hub of this.hubs) next = Math.min(next, hub.nextDueNs);
    for (const nic of this.nics) next = Math.min(next, nic.nextDueNs);
    return next;
  }

  /** Form of its log; undefined: it writes none. */
  get logForm(): DmLogForm | undefined {
    return this.o.log?.form;
  }

  /** Frames on the wire: idle time may be skipped up to nextDeadlineNs, and without limit only when this is zero. */
  get inFlight(): number {
    return this.hubs.reduce((sum, hub) => sum + hub.inFlight, 0);
  }

  get nicOptions(): readonly NicOptions[] {
    return this.o.nics;
  }

  /** Frames lost because the party behind the socket had no room for them. */
  get socketDrops(): number {
    return this.socket?.drops ?? 0;
  }

  /** Characters for COM1. */
  consoleReceive(bytes: Uint8Array): void {
    this.uart.receive(bytes);
  }

  /**
   * Characters for COM1, or a frame for the wire of a NIC, that come from outside: taken at the device model's next turn.
   * @param to number of the NIC, from 0
   */
  queueInput(to: number | 'console', bytes: Uint8Array): void {
    if (to !== 'console' && this.wireOfNic[to] === undefined)
      throw new UserError(`NIC ${to}: the machine has ${this.nics.length}, numbered from 0`);
    this.input.push({ nic: to === 'console' ? CONSOLE : to, bytes });
  }

  /** Hand out console characters, log lines and captured frames gathered so far. */
  flush(): void {
    this.flushConsole();
    this.o.log?.flush();
    this.o.pcap?.flush();
  }

  flushConsole(): void {
    if (this.consoleLength === 0) return;
    const bytes = this.console.slice(0, this.consoleLength);
    this.consoleLength = 0;
    this.o.console?.(bytes);
  }

  save(): DeviceModelState {
    return { parts: Object.fromEntries(this.parts().map(([name, part]) => [name, saved(part)])) };
  }

  /** Takes the state of a device model built with the same options. What of the log and the capture is not handed out yet is forgotten. */
  restore(state: DeviceModelState): void {
    for (const [name, part] of this.parts()) {
      const from = state.parts[name];
      if (from === undefined)
        throw new UserError(`saved state of a device model: no part '${name}' in it; restore it into the same machine`);
      restoreSaved(part, from);
    }
    this.restartOutputs(false);
  }

  /** Log and capture begin anew. `header`: in files of their own. */
  restartOutputs(header: boolean): void {
    this.consoleLength = 0;
    this.o.log?.restart(header);
    this.o.pcap?.restart(header);
  }

  /** In the order in which they are restored: devices arm timers and map regions, so timers and mappings come behind them. */
  private parts(): [string, Snapshot<unknown>][] {
    const device = (of: { save(): DeviceState; restore(state: DeviceState): void }, kind: string): Snapshot<unknown> => ({
      kind,
      version: 1,
      save: () => of.save(),
      restore: (state) => of.restore(state as DeviceState),
    });
    const part = <T>(snapshot: Snapshot<T>): Snapshot<unknown> => snapshot as Snapshot<unknown>;
    return [
      ['serial', device(this.uart, this.uart.name)],
      ['vga', device(this.vga, this.vga.name)],
      ...this.pci.functions.map(([at, of]): [string, Snapshot<unknown>] => [`pci ${at}`, device(of, of.name)]),
      ...this.nics.map((nic): [string, Snapshot<unknown>] => [`cable ${nic.name}`, part(nic)]),
      ...this.testParts,
      ['ports', part(this.ports.order)],
      ['memory', part(this.memory.order)],
      ['timers', part(this.timers)],
      ...this.hubs.map((hub, i): [string, Snapshot<unknown>] => [i === 0 ? 'wire' : `wire ${i}`, part(hub)]),
      ...(this.endpoint === undefined ? [] : [['endpoint', part(this.endpoint)] as [string, Snapshot<unknown>]]),
      ['ioreq server', part(this.server)],
      ['map cache', part(this.mapCache)],
      ['regions', part(this.regions ?? NO_REGIONS)],
      ['rest', part(this.rest)],
    ];
  }

  /** Counters, what a test program asked for, and input that waits. */
  private readonly rest: Snapshot<{ dma: DmaCounters; exitStatus: number; input: readonly Input[] }> = {
    kind: 'device model counters',
    version: 2,
    save: () => ({ dma: { ...this.dma.counters }, exitStatus: this.exitStatus ?? -1, input: [...this.input] }),
    restore: ({ dma, exitStatus, input }) => {
      Object.assign(this.dma.counters, dma);
      this.exitStatus = exitStatus < 0 ? undefined : exitStatus;
      this.input = [...input];
    },
  };

  private attachChipset(): void {
    const { hypercalls } = this.o;
    const { pci, ports } = this;
    const bridge = devfn(0, 0);
    pci.attach(bridge, new HostBridge(pci.slot(bridge), pci, ports));
    const isa = devfn(1, 0);
    pci.attach(
      isa,
      new Piix3(pci.slot(isa), ports, {
        setPciLinkRoute: (link, irq) => hypercalls.setPciLinkRoute(link, irq),
        reset: () => hypercalls.remoteShutdown(ShutdownReason.reboot),
      }),
    );
    const pm = devfn(1, 3);
    pci.attach(pm, new Piix4Pm(pci.slot(pm), ports, { powerOff: () => hypercalls.remoteShutdown(ShutdownReason.poweroff) }));
  }

  private attachTestDevices(options: TestDeviceOptions): void {
    const { hypercalls } = this.o;
    const host = {
      exit: (status: number) => {
        this.exitStatus ??= status;
        hypercalls.remoteShutdown(ShutdownReason.poweroff);
      },
      setIsaIrq: (irq: number, level: boolean) => void hypercalls.setIsaIrqLevel(irq, level ? 1 : 0),
    };
    for (const { space, base, region, state } of testDevices(options, host)) {
      (space === 'port' ? this.ports : this.memory).add(region, base);
      if (state !== undefined) this.testParts.push([state.kind, state]);
    }
  }

  private newHub(): Hub {
    const { clock } = this.o;
    const hub = new Hub({ latencyNs: this.o.wireLatencyNs ?? 0, now: () => clock.nowNs() });
    this.inlets.set(hub, hub.attach({ name: 'inlet', receive: () => true }));
    this.hubs.push(hub);
    return hub;
  }

  private takeQueued(): boolean {
    if (this.input.length === 0) return false;
    const input = this.input;
    this.input = [];
    for (const { nic, bytes } of input) {
      if (nic === CONSOLE) this.uart.receive(bytes);
      else this.inlets.get(this.wireOfNic[nic]!)!.send(bytes);
    }
    return true;
  }

  private tap(nic: number, frame: Uint8Array, direction: FrameDirection, atNs: number): void {
    this.o.pcap?.write(frame, direction, this.server.inService ? describeIoreq(this.server.current) : undefined, atNs, {
      interfaceId: nic,
    });
    const { crossed } = this;
    crossed.nic = nic;
    crossed.direction = direction;
    crossed.atNs = atNs;
    crossed.frame = frame;
    this.frames.call(crossed);
  }

  private attachNic(options: NicOptions, index: number): NicPort {
    const { clock, log } = this.o;
    const model = nicModel(options.model);
    const at = devfn(options.device ?? FIRST_NIC_DEVICE + index, 0);
    const slot = this.pci.slot(at, log === undefined ? undefined : (line, fields) => log.put(line, fields));
    const hub = options.wire === 'own' ? this.newHub() : this.hub;
    const port = new NicPort(
      `${options.model}.${index}`,
      hub,
      clock,
      (wire) => model.make(slot, wire, options),
      (frame, direction, atNs) => this.tap(index, frame, direction, atNs),
    );
    this.wireOfNic.push(hub);
    this.pci.attach(at, port.nic, model.attach);
    return port;
  }

  private putConsole(byte: number): void {
    this.console[this.consoleLength++] = byte;
    if (this.consoleLength === CONSOLE_BUFFER) this.flushConsole();
  }

  private pollConsole(ring: FrameSource): boolean {
    const bytes = ring.peek();
    if (bytes === undefined) return false;
    this.uart.receive(bytes);
    ring.advance();
    return true;
  }
}
