/**
 * The machine behind the qtest front end: chipset, chips and RAM of a PC with no processor. Ports, memory and time are
 * moved from outside; interrupt lines are watched at the I/O APIC's inputs.
 */
import { UserError } from '../base/errors.ts';
import { Listeners } from '../base/listeners.ts';
import { StepClock, TestWire } from '../devices/conformance/test-bus.ts';
import type { DmaBus } from '../devices/interfaces.ts';
import { IoSpace } from '../devices/io-space.ts';
import { nicModels } from '../devices/nic/models.ts';
import { PciBus, devfn, pciLink } from '../devices/pci/bus.ts';
import { HostBridge } from '../devices/pci/host-bridge.ts';
import { Piix3 } from '../devices/pci/piix3.ts';
import { Piix4Pm } from '../devices/pci/piix4-pm.ts';

const LINKS = 4;
const IOAPIC_PINS = 24;

/** NICs that `-device` takes. */
export const qtestDevices: readonly string[] = nicModels.map(({ name }) => name);

/** The address QEMU gives its first NIC; the others have the next ones. */
const macOf = (index: number): Uint8Array => Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x56 + index);

/** RAM from address 0 on. */
class Ram implements DmaBus {
  readonly bytes: Uint8Array;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  read(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean {
    for (let i = 0; i < length; i++) buffer[offset + i] = this.bytes[gpa + i] ?? 0;
    return gpa >= 0 && gpa + length <= this.bytes.length;
  }

  write(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean {
    for (let i = 0; i < length; i++) if (gpa + i < this.bytes.length) this.bytes[gpa + i] = buffer[offset + i]!;
    return gpa >= 0 && gpa + length <= this.bytes.length;
  }
}

export interface QtestDevice {
  readonly model: string;
  /** Place on the PCI bus: device << 3 | function; the next free device from 2 on when left out. */
  readonly at?: number;
}

export class QtestMachine {
  readonly ports = new IoSpace('port');
  readonly memory = new IoSpace('memory');
  readonly clock = new StepClock();
  /** An edge at an I/O APIC input. */
  readonly irqs = new Listeners<{ readonly pin: number; readonly level: boolean }>();
  /** A reset that the machine itself asked for. */
  readonly resets = new Listeners();
  readonly powerOffs = new Listeners();
  private readonly ram: Ram;
  private readonly bus: PciBus;
  /** ISA interrupt by link, 0: none; devices that assert a link, as bits. */
  private readonly routes = new Uint8Array(LINKS);
  private readonly asserted: number[] = [0, 0, 0, 0];
  private readonly pins: boolean[] = new Array<boolean>(IOAPIC_PINS).fill(false);
  /** Pins whose level the links have set; others only move by hand. */
  private readonly driven = new Set<number>();

  constructor(ramSize: number, devices: readonly QtestDevice[]) {
    this.ram = new Ram(ramSize);
    this.bus = new PciBus({
      ports: this.ports,
      memory: this.memory,
      dma: this.ram,
      clock: this.clock,
      setIntx: (device, intx, level) => {
        const link = pciLink(device, intx);
        const bit = 1 << device;
        this.asserted[link] = level ? this.asserted[link]! | bit : this.asserted[link]! & ~bit;
        this.updatePins();
      },
    });
    const bus = this.bus;
    bus.attach(devfn(0, 0), new HostBridge(bus.slot(devfn(0, 0)), bus, this.ports));
    bus.attach(
      devfn(1, 0),
      new Piix3(bus.slot(devfn(1, 0)), this.ports, {
        setPciLinkRoute: (link, irq) => {
          this.routes[link] = irq;
          this.updatePins();
        },
        reset: () => {
          this.reset();
          this.resets.call();
        },
      }),
    );
    bus.attach(devfn(1, 3), new Piix4Pm(bus.slot(devfn(1, 3)), this.ports, { powerOff: () => this.powerOffs.call() }));
    let next = 2;
    for (const [index, { model, at }] of devices.entries()) {
      const nic = nicModels.find(({ name }) => name === model);
      if (!nic)
        throw new UserError(
          `-device ${model}: '${model}' is not a valid device model name; expected one of ${qtestDevices.join(', ')}`,
        );
      while (at === undefined && bus.function(devfn(next, 0))) next++;
      const place = at ?? devfn(next, 0);
      const taken = bus.function(place);
      if (taken)
        throw new UserError(`-device ${model}: PCI place ${(place >>> 3).toString(16)}.${place & 7} is taken by ${taken.name}`);
      const wire = new TestWire();
      const chip = nic.make(bus.slot(place), wire, { mac: macOf(index) });
      wire.nic = chip;
      bus.attach(place, chip, nic.attach);
    }
  }

  reset(): void {
    this.bus.reset();
  }

  /** An interrupt line by hand, at an I/O APIC input. */
  setPin(pin: number, level: boolean): void {
    if (!(pin >= 0 && pin < IOAPIC_PINS) || this.pins[pin] === level) return;
    this.pins[pin] = level;
    this.irqs.call({ pin, level });
  }

  /** 1, 2, 4 or 8 bytes at a memory address, little-endian; memory that is not there reads zero. */
  readMemory(address: number, size: number): bigint {
    const bytes = this.readBytes(address, size);
    return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  }

  writeMemory(address: number, size: number, value: bigint): void {
    this.writeBytes(
      address,
      Uint8Array.from({ length: size }, (_, i) => Number((value >> BigInt(i * 8)) & 0xffn)),
    );
  }

  readBytes(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.pieces(
      address,
      length,
      (at, offset, size) => {
        const value = this.memory.read(at, size);
        for (let i = 0; i < size; i++) bytes[offset + i] = value >>> (i * 8);
      },
      (at, offset, size) => void this.ram.read(at, bytes, offset, size),
    );
    return bytes;
  }

  writeBytes(address: number, bytes: Uint8Array): void {
    this.pieces(
      address,
      bytes.length,
      (at, offset, size) => {
        let value = 0;
        for (let i = 0; i < size; i++) value |= bytes[offset + i]! << (i * 8);
        this.memory.write(at, size, value >>> 0);
      },
      (at, offset, size) => void this.ram.write(at, bytes, offset, size),
    );
  }

  /** Cut a range into register accesses (aligned, at most 4 bytes) and runs of RAM. */
  private pieces(
    address: number,
    length: number,
    registers: (at: number, offset: number, size: number) => void,
    ram: (at: number, offset: number, size: number) => void,
  ): void {
    for (let done = 0; done < length; ) {
      const at = address + done;
      const left = length - done;
      let size = 1;
      if (this.memory.find(at)) {
        for (size = 4; size > left || at % size !== 0; size >>= 1);
        registers(at, done, size);
      } else {
        const next = Math.min(...this.memory.mappings.map(({ base }) => base).filter((base) => base > at), at + left);
        size = next - at;
        ram(at, done, size);
      }
      done += size;
    }
  }

  private updatePins(): void {
    for (let pin = 1; pin < 16; pin++) {
      let level = false;
      for (let link = 0; link < LINKS; link++) {
        if (this.routes[link] !== pin) continue;
        this.driven.add(pin);
        if (this.asserted[link] !== 0) level = true;
      }
      if (this.driven.has(pin)) this.setPin(pin, level);
    }
  }
}
