/**
 * The VGA memory hole, 0xa0000 to 0xbffff, as plain memory: enough to take what a kernel or a boot loader writes
 * there and to show its 80x25 text page. There is no VGA chip behind it: no planes, no modes.
 */
import { VGA_HOLE_BASE, VGA_HOLE_END } from '../../base/vga.ts';
import type { IoRegion } from '../io-space.ts';
import type { DeviceState } from '../pci/pci-device.ts';
import { checkState, copyState } from '../state.ts';

const VGA_HOLE_SIZE = VGA_HOLE_END - VGA_HOLE_BASE;
/** The colour text page, as an offset in the hole. */
const TEXT_PAGE = 0xb8000 - VGA_HOLE_BASE;
const COLUMNS = 80;
const ROWS = 25;

interface VgaLowmemState extends DeviceState {
  readonly bytes: Uint8Array;
}

export class VgaLowmem implements IoRegion {
  readonly name = 'vga-lowmem';
  readonly size = VGA_HOLE_SIZE;
  readonly widest = 4;
  private readonly bytes = new Uint8Array(VGA_HOLE_SIZE);

  read(offset: number, size: number): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.bytes[offset + i]! << (i * 8);
    return value >>> 0;
  }

  write(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) this.bytes[offset + i] = value >>> (i * 8);
  }

  /** The text page as lines without trailing blanks; characters outside printable ASCII show as '.', zero as blank. */
  text(): string[] {
    return Array.from({ length: ROWS }, (_, row) => {
      let line = '';
      for (let column = 0; column < COLUMNS; column++) {
        const byte = this.bytes[TEXT_PAGE + (row * COLUMNS + column) * 2]!;
        line += byte === 0 ? ' ' : byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.';
      }
      return line.trimEnd();
    });
  }

  reset(): void {
    this.bytes.fill(0);
  }

  save(): VgaLowmemState {
    return { device: this.name, version: 1, bytes: this.bytes.slice() };
  }

  restore(state: DeviceState): void {
    copyState(this.bytes, checkState(state, this.save()).bytes, this.name);
  }
}
