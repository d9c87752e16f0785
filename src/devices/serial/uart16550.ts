/**
 * 16550A UART with both FIFOs. The line is as fast as its user: a character written is out at once, so the
 * transmitter is always empty, and a receive timeout is due as soon as characters stay below the trigger level.
 * Source: National Semiconductor PC16550D data sheet.
 */
import type { IrqLine } from '../interfaces.ts';
import type { IoRegion } from '../io-space.ts';
import type { DeviceState } from '../pci/pci-device.ts';
import type { RegisterDef } from '../registers.ts';
import { checkState } from '../state.ts';
import { Fcr, Ier, Iir, Lcr, Lsr, Mcr, Msr, uartRegisters } from './registers.ts';

/** Bits that a register keeps. */
const writable = (name: 'IER' | 'MCR'): number =>
  (uartRegisters as readonly RegisterDef[]).find((register) => register.name === name)!.writable!;
const IER_BITS = writable('IER');
const MCR_BITS = writable('MCR');

const FIFO_SIZE = 16;
/** Receive trigger levels by FCR bits 7:6. */
const TRIGGER = [1, 4, 8, 14] as const;
/** Characters kept for a guest that does not read; past it the oldest stay and new ones are lost. */
const BACKLOG_LIMIT = 65_536;

interface UartWires {
  readonly setIrq: IrqLine;
  /** A character leaves on the line. */
  readonly transmit: (byte: number) => void;
}

/** Registers by their names, and the characters received. */
interface Uart16550State extends DeviceState {
  readonly ier: number;
  readonly fcr: number;
  readonly lcr: number;
  readonly mcr: number;
  readonly scr: number;
  readonly divisor: number;
  readonly overrun: boolean;
  readonly msrDeltas: number;
  readonly thrPending: boolean;
  readonly fifo: Uint8Array;
  readonly backlog: Uint8Array;
}

export class Uart16550 implements IoRegion {
  readonly name = 'serial';
  readonly size = 8;
  readonly widest = 1;
  private readonly wires: UartWires;
  private ier = 0;
  private fcr = 0;
  private lcr = 0;
  private mcr = 0;
  private scr = 0;
  private divisor = 0x0c;
  private overrun = false;
  private msrDeltas = 0;
  private thrPending = false;
  /** Characters the guest can read now. */
  private fifo: number[] = [];
  /** Characters that wait for room there. */
  private backlog: number[] = [];
  private irq = false;

  constructor(wires: UartWires) {
    this.wires = wires;
  }

  /** Characters arrive on the line; in order, and held back while the FIFO is full. */
  receive(bytes: Uint8Array): void {
    for (const byte of bytes) if (this.backlog.length < BACKLOG_LIMIT) this.backlog.push(byte);
    this.fill();
    this.update();
  }

  read(offset: number): number {
    switch (offset) {
      case 0:
        return this.lcr & Lcr.dlab ? this.divisor & 0xff : this.takeCharacter();
      case 1:
        return this.lcr & Lcr.dlab ? this.divisor >>> 8 : this.ier;
      case 2: {
        const id = this.interruptId();
        if (id === Iir.thrEmpty) {
          this.thrPending = false;
          this.update();
        }
        return id | (this.fcr & Fcr.enable ? Iir.fifos : 0);
      }
      case 3:
        return this.lcr;
      case 4:
        return this.mcr;
      case 5: {
        const lsr =
          Lsr.thrEmpty | Lsr.transmitterEmpty | (this.fifo.length > 0 ? Lsr.dataReady : 0) | (this.overrun ? Lsr.overrun : 0);
        this.overrun = false;
        this.update();
        return lsr;
      }
      case 6: {
        const msr = this.modemLines() | this.msrDeltas;
        this.msrDeltas = 0;
        this.update();
        return msr;
      }
      default:
        return this.scr;
    }
  }

  write(offset: number, _size: number, value: number): void {
    switch (offset) {
      case 0:
        if (this.lcr & Lcr.dlab) this.divisor = (this.divisor & 0xff00) | value;
        else this.send(value);
        break;
      case 1:
        if (this.lcr & Lcr.dlab) this.divisor = (this.divisor & 0xff) | (value << 8);
        else {
          const enabled = value & ~this.ier;
          this.ier = value & IER_BITS;
          // Enabling it with the transmitter empty asks at once.
          if (enabled & Ier.thrEmpty) this.thrPending = true;
          if (!(this.ier & Ier.thrEmpty)) this.thrPending = false;
        }
        break;
      case 2:
        this.writeFcr(value);
        break;
      case 3:
        this.lcr = value;
        break;
      case 4: {
        const before = this.modemLines();
        this.mcr = value & MCR_BITS;
        const after = this.modemLines();
        const changed = before ^ after;
        // RI is noted on its trailing edge only, the others on any change.
        this.msrDeltas |= ((changed & (Msr.cts | Msr.dsr | Msr.dcd)) | (changed & before & Msr.ri)) >>> 4;
        break;
      }
      case 7:
        this.scr = value;
        break;
      default: // LSR and MSR: a write is for factory tests
        break;
    }
    this.update();
  }

  private writeFcr(value: number): void {
    const toggled = (value ^ this.fcr) & Fcr.enable;
    if (toggled || value & Fcr.clearReceive) {
      this.fifo = [];
      this.overrun = false;
    }
    if (toggled || value & Fcr.clearTransmit) this.thrPending = (this.ier & Ier.thrEmpty) !== 0;
    this.fcr = value & Fcr.enable ? value & (0xc0 | Fcr.enable) : 0;
    this.fill();
  }

  private send(byte: number): void {
    if (this.mcr & Mcr.loop) {
      // The character comes straight back; a full receiver loses it, as on the chip.
      if (this.fifo.length < this.room) this.fifo.push(byte);
      else this.overrun = true;
    } else {
      this.wires.transmit(byte);
    }
    this.thrPending = (this.ier & Ier.thrEmpty) !== 0;
  }

  private takeCharacter(): number {
    const byte = this.fifo.shift() ?? 0;
    this.fill();
    this.update();
    return byte;
  }

  private get room(): number {
    return this.fcr & Fcr.enable ? FIFO_SIZE : 1;
  }

  private fill(): void {
    if (this.mcr & Mcr.loop) return;
    const count = Math.min(this.room - this.fifo.length, this.backlog.length);
    if (count > 0) this.fifo.push(...this.backlog.splice(0, count));
  }

  /** Lines as MSR shows them in its high half; in loop mode the modem control outputs come back. */
  private modemLines(): number {
    if (!(this.mcr & Mcr.loop)) return Msr.dcd | Msr.dsr | Msr.cts;
    const mcr = this.mcr;
    return (
      (mcr & Mcr.rts ? Msr.cts : 0) |
      (mcr & Mcr.dtr ? Msr.dsr : 0) |
      (mcr & Mcr.out1 ? Msr.ri : 0) |
      (mcr & Mcr.out2 ? Msr.dcd : 0)
    );
  }

  private interruptId(): number {
    if (this.ier & Ier.lineStatus && this.overrun) return Iir.lineStatus;
    if (this.ier & Ier.received && this.fifo.length > 0) {
      const trigger = this.fcr & Fcr.enable ? TRIGGER[this.fcr >>> 6]! : 1;
      return this.fifo.length >= trigger ? Iir.received : Iir.timeout;
    }
    if (this.ier & Ier.thrEmpty && this.thrPending) return Iir.thrEmpty;
    if (this.ier & Ier.modemStatus && this.msrDeltas !== 0) return Iir.modemStatus;
    return Iir.none;
  }

  private update(): void {
    const level = this.interruptId() !== Iir.none;
    if (level === this.irq) return;
    this.irq = level;
    this.wires.setIrq(level);
  }

  reset(): void {
    this.ier = this.fcr = this.lcr = this.mcr = this.scr = this.msrDeltas = 0;
    this.divisor = 0x0c;
    this.overrun = this.thrPending = false;
    this.fifo = [];
    this.update();
  }

  save(): Uart16550State {
    return {
      device: this.name,
      version: 1,
      ier: this.ier,
      fcr: this.fcr,
      lcr: this.lcr,
      mcr: this.mcr,
      scr: this.scr,
      divisor: this.divisor,
      overrun: this.overrun,
      msrDeltas: this.msrDeltas,
      thrPending: this.thrPending,
      fifo: Uint8Array.from(this.fifo),
      backlog: Uint8Array.from(this.backlog),
    };
  }

  restore(state: DeviceState): void {
    const s = checkState(state, this.save());
    this.ier = s.ier;
    this.fcr = s.fcr;
    this.lcr = s.lcr;
    this.mcr = s.mcr;
    this.scr = s.scr;
    this.divisor = s.divisor;
    this.overrun = s.overrun;
    this.msrDeltas = s.msrDeltas;
    this.thrPending = s.thrPending;
    this.fifo = [...s.fifo];
    this.backlog = [...s.backlog];
    this.update();
  }
}
