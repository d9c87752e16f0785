/**
 * PIIX3 (82371SB) function 0, the PCI-to-ISA bridge: interrupt routing registers 0x60-0x63 and the reset control
 * register at port 0xcf9; and the keyboard controller's reset line at port 0x64, the one thing of it a PC without
 * a keyboard still needs.
 * Source: Intel 82371SB data sheet (290550), sections 2.2.6 and 2.5.9.
 */
import type { IoRegion, IoSpace } from '../io-space.ts';
import type { RegisterDef } from '../registers.ts';
import { checkState } from '../state.ts';
import { PciDevice, type DeviceState, type PciSlot, type PciState } from './pci-device.ts';

export const PIRQ_FIRST = 0x60;
const PIRQ_COUNT = 4;
const PIRQ_DISABLED = 0x80;
/** ISA interrupts that a link may drive; the data sheet reserves the others. */
const ROUTABLE = 0xdef8;

const RESET_CONTROL_PORT = 0xcf9;
const RESET_SYSTEM_TYPE = 0x02;
const RESET_CPU = 0x04;
const KEYBOARD_COMMAND_PORT = 0x64;
const KEYBOARD_PULSE_RESET = 0xfe;

const pirq = (letter: string, offset: number) =>
  ({
    name: `PIRQRC${letter}`,
    offset,
    width: 1,
    access: 'rw',
    reset: PIRQ_DISABLED,
    doc: `ISA interrupt that PCI link ${letter} drives`,
    fields: [
      { name: 'IRQ', lsb: 0, bits: 4 },
      { name: 'Disabled', lsb: 7 },
    ],
  }) as const;

export const piix3Registers = [
  pirq('A', 0x60),
  pirq('B', 0x61),
  pirq('C', 0x62),
  pirq('D', 0x63),
] as const satisfies readonly RegisterDef[];

interface Piix3Wires {
  /** PCI link 0 to 3 now drives this ISA interrupt; 0: none. */
  readonly setPciLinkRoute: (link: number, isaIrq: number) => void;
  /** Software asked for a reset of the whole machine. */
  readonly reset: () => void;
}

interface Piix3State extends DeviceState, PciState {
  /** Port 0xcf9. */
  readonly resetControl: number;
}

export class Piix3 extends PciDevice {
  readonly name = 'PIIX3';
  private readonly wires: Piix3Wires;
  private resetControl = 0;

  constructor(slot: PciSlot, ports: IoSpace, wires: Piix3Wires) {
    super(slot, { vendorId: 0x8086, deviceId: 0x7000, revision: 0, classCode: 0x060100, headerType: 0x80 }, []);
    this.wires = wires;
    this.config.bytes.fill(PIRQ_DISABLED, PIRQ_FIRST, PIRQ_FIRST + PIRQ_COUNT);
    const resetControl: IoRegion = {
      name: 'piix3-reset-control',
      size: 1,
      widest: 1,
      read: () => this.resetControl,
      write: (_offset, _size, value) => {
        if (value & RESET_CPU) this.wires.reset();
        this.resetControl = value & RESET_SYSTEM_TYPE;
      },
    };
    // Reads give ones, as where no keyboard controller is, so that no driver looks for keys.
    const keyboard: IoRegion = {
      name: 'i8042-cmd',
      size: 1,
      widest: 1,
      read: () => 0xff,
      write: (_offset, _size, value) => {
        if (value === KEYBOARD_PULSE_RESET) this.wires.reset();
      },
    };
    ports.add(resetControl, RESET_CONTROL_PORT, { priority: 1 });
    ports.add(keyboard, KEYBOARD_COMMAND_PORT);
  }

  override writeConfig(offset: number, size: number, value: number): void {
    super.writeConfig(offset, size, value);
    for (let link = 0; link < PIRQ_COUNT; link++) {
      const at = PIRQ_FIRST + link;
      if (at >= offset && at < offset + size) this.route(link);
    }
  }

  private route(link: number): void {
    const value = this.config.bytes[PIRQ_FIRST + link]!;
    const irq = value & 0x0f;
    this.wires.setPciLinkRoute(link, value & PIRQ_DISABLED || !((ROUTABLE >>> irq) & 1) ? 0 : irq);
  }

  readBar(): number {
    return 0xffffffff;
  }

  writeBar(): void {}

  protected resetChip(): void {
    this.resetControl = 0;
    this.config.bytes.fill(PIRQ_DISABLED, PIRQ_FIRST, PIRQ_FIRST + PIRQ_COUNT);
    for (let link = 0; link < PIRQ_COUNT; link++) this.route(link);
  }

  save(): Piix3State {
    return { device: this.name, version: 1, ...this.savePci(), resetControl: this.resetControl };
  }

  restore(state: DeviceState): void {
    const saved = checkState(state, this.save());
    this.restorePci(saved);
    this.resetControl = saved.resetControl;
    for (let link = 0; link < PIRQ_COUNT; link++) this.route(link);
  }
}
