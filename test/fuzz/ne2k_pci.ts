/**
 * Fuzz target: the RTL8029 on a test bus, under register, data port, wire, link and configuration input. Watched for: exceptions,
 * DMA of any kind, registers out of their range, a chip that goes on differently after save and restore.
 */
import { Ne2kPci } from '../../src/devices/nic/ne2k_pci/core.ts';
import { R, W } from '../../src/devices/nic/ne2k_pci/port.ts';
import type { Target } from './engine.ts';
import { IO, MAC, NicRun, runsOf, sizes } from './nic-run.ts';
import { check, type Program } from './program.ts';

const MEMORY = 0xc000;

class Run extends NicRun {
  constructor(replace: boolean) {
    super({
      make: (slot, wire) => new Ne2kPci(slot, wire, { mac: MAC }),
      ramSize: 0x1000,
      stepDma: 0,
      shortestFrame: 0,
      longestFrame: MEMORY,
      highestAddress: 0,
      replace,
    });
  }

  private write(port: number, value: number): void {
    this.bus.write('io', IO + port, 1, value);
  }

  protected override step(program: Program): void {
    const { bus } = this;
    const op = program.u8();
    switch (op % 13) {
      case 0:
        this.write(program.u8() & 0x0f, program.u8());
        break;
      case 1:
        bus.write('io', IO + (program.u8() & (op & 0x80 ? 0xff : 0x1f)), sizes[program.u8() % 3]!, program.u32());
        break;
      case 2:
        this.add(bus.read('io', IO + (program.u8() & (op & 0x80 ? 0xff : 0x1f)), sizes[program.u8() % 3]!));
        break;
      case 3: {
        // Remote DMA: address, count, command, then some accesses.
        const command = program.u8();
        this.write(0, 0x22);
        for (const port of [0x08, 0x09, 0x0a, 0x0b]) this.write(port, program.u8());
        this.write(0, command & 1 ? 0x0a : 0x12);
        const size = sizes[(command >> 1) % 3]!;
        for (let n = command >> 3; n > 0; n--) {
          if (command & 1) this.add(bus.read('io', IO + 0x10, size));
          else bus.write('io', IO + 0x10, size, program.u32());
        }
        break;
      }
      case 4:
      case 5:
        this.arrive(program);
        break;
      case 6: {
        this.write(0, 0x22);
        for (const port of [0x04, 0x05, 0x06]) this.write(port, program.u8());
        this.write(0, 0x26);
        break;
      }
      case 7:
        this.start(program);
        break;
      case 8: {
        // As a driver that has read all.
        this.write(0, 0x62);
        const next = bus.read('io', IO + 7, 1);
        this.write(0, 0x22);
        this.write(3, next - 1);
        this.write(7, 0xff);
        break;
      }
      case 9:
        bus.chip.setLink((program.u8() & 1) === 1);
        break;
      case 10:
        bus.chip.writeConfig(program.u8(), sizes[program.u8() % 3]!, program.u32());
        break;
      case 11: {
        if (program.u8() & 1) bus.chip.reset();
        else bus.read('io', IO + 0x1f, 1);
        break;
      }
      case 12: {
        // Put back what a driver needs, however far the program went astray; remind as the wire does.
        this.place();
        bus.chip.remind();
        break;
      }
    }
  }

  private start(program: Program): void {
    const kind = program.u8();
    const first = kind & 0x40 ? program.u8() : 0x46;
    const stop = kind & 0x40 ? program.u8() : kind & 0x20 ? 0x60 : 0xc0;
    this.write(0, 0x21);
    this.write(0x0e, kind & 1 ? 0x49 : 0x48);
    this.write(0x0c, (kind << 1) & 0x1c);
    this.write(1, first);
    this.write(2, stop);
    this.write(3, kind & 0x10 ? program.u8() : first);
    this.write(7, 0xff);
    this.write(0x0f, 0x7f);
    this.write(0, 0x61);
    this.write(7, kind & 0x10 ? program.u8() : first + 1);
    for (let i = 8; i < 16; i++) this.write(i, 0x55);
    this.write(0, 0x22);
  }

  protected override invariants(): void {
    const {
      regs: { values },
      state,
    } = this.bus.chip as unknown as { regs: { values: Uint32Array }; state: Record<string, number> };
    for (const [index, most] of [
      [W.EN0_STARTPG, 0xc0],
      [W.EN0_STOPPG, 0xc0],
      [R.EN0_BOUNDARY, 0xbf],
      [R.EN1_CURPAG, 0xff],
      [R.EN0_ISR, 0xff],
      [W.EN0_IMR, 0xff],
    ] as const) {
      check(values[index]! <= most, `register ${index} is ${values[index]}`);
    }
    check(
      state['rcnt']! >= 0 && state['rcnt']! <= 0xffff && state['rsar']! >= 0 && Number.isInteger(state['rsar']),
      `remote DMA at ${state['rsar']}, ${state['rcnt']} bytes`,
    );
    check(!this.bus.irqLevel || (this.bus.chip.config.command & 0x400) === 0, 'INTx with INTxDisable');
    this.add(Number(this.bus.chip.hasUnread()));
  }
}

export const ne2kTarget: Target = {
  name: 'ne2k_pci',
  ...runsOf((replace) => new Run(replace)),
  seeds: [
    // Start, a frame in, read it out, a frame out.
    Uint8Array.from([7, 0x02, 4, 0, 100, 0, 0, 3, 0xf1, 0, 0x47, 100, 0, 8, 6, 0x40, 60, 0]),
    // A small ring that runs over, frames to groups, promiscuous mode.
    Uint8Array.from([7, 0x2e, 4, 1, 0xdc, 5, 0, 4, 2, 0xdc, 5, 7, 4, 3, 0xdc, 5, 0, 4, 0, 0xdc, 5, 0, 8, 12, 4, 0, 60, 0, 0]),
    // A ring by the program's own pages, words and double words, writes at the end of memory.
    Uint8Array.from([
      7, 0x51, 0xb8, 0xc0, 0xbf, 0xb9, 4, 0x80, 0xa0, 0x0f, 0, 4, 0, 60, 0, 0, 3, 0x2a, 0xfe, 0xbf, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8,
      9, 10, 11, 12,
    ]),
    // Reset, link, configuration.
    Uint8Array.from([7, 2, 11, 0, 9, 0, 6, 0x40, 60, 0, 9, 1, 10, 4, 1, 3, 4, 0, 0, 11, 1, 12, 2, 7, 0]),
  ],
};
