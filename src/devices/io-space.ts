/**
 * An address space of registers: ports or memory-mapped. Finds the region that decodes an address, cuts an access
 * into the pieces the region takes, and lets a probe watch every piece.
 *
 * An access is cut at its natural alignment and at the region's widest access; each piece goes whole to the
 * region that decodes its first byte. Where nobody decodes, reads give ones and writes are lost.
 */

import { lowBytes, widthMask } from '../base/width.ts';
import { Listeners } from '../base/listeners.ts';
import type { Snapshot } from '../base/snapshot.ts';

/** A block of registers, wherever it is mapped. */
export interface IoRegion {
  /** As logs name it. */
  readonly name: string;
  /** Tells it from other regions of the same name; left out where there is none. */
  readonly key?: string;
  /** Bytes decoded. */
  readonly size: number;
  /** Widest access the block takes. */
  readonly widest: 1 | 2 | 4;
  /** `offset` from the block's start, `size` 1, 2 or 4 bytes and no wider than `widest`; gives the data, unsigned. */
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
}

/** By what a region is known again in a machine built alike. */
export const regionKey = (region: IoRegion): string => region.key ?? region.name;

export interface IoMapping {
  readonly region: IoRegion;
  readonly base: number;
  /** Higher wins where mappings overlap; among equals the one that came first. */
  readonly priority: number;
  /** Address that logs show for the region's first byte: `base` unless the region is an alias of another mapping. */
  readonly logBase: () => number;
}

/** Watches accesses; every call is one piece, after a read and before a write. */
export interface IoProbe {
  read(mapping: IoMapping, offset: number, size: number, value: number): void;
  write(mapping: IoMapping, offset: number, size: number, value: number): void;
}

/** Where regions are mapped, in the order in which they are asked. */
export interface IoSpaceState {
  readonly regions: readonly string[];
  readonly bases: Float64Array;
}

export class IoSpace {
  readonly kind: 'port' | 'memory';
  readonly probe: IoProbe | undefined;
  /** A mapping has come or gone. */
  readonly changes = new Listeners();
  /** High half of the last 8-byte read. */
  high = 0;
  private mapped: IoMapping[] = [];

  constructor(kind: 'port' | 'memory', probe?: IoProbe) {
    this.kind = kind;
    this.probe = probe;
  }

  get mappings(): readonly IoMapping[] {
    return this.mapped;
  }

  add(region: IoRegion, base: number, options: { priority?: number; logBase?: () => number } = {}): IoMapping {
    const mapping: IoMapping = { region, base, priority: options.priority ?? 0, logBase: options.logBase ?? (() => base) };
    this.mapped.push(mapping);
    this.mapped.sort((a, b) => b.priority - a.priority);
    this.changes.call();
    return mapping;
  }

  remove(mapping: IoMapping): void {
    this.mapped = this.mapped.filter((other) => other !== mapping);
    this.changes.call();
  }

  /** The order of the mappings as a part of a machine's state: which of two equals came first decides between them. */
  readonly order: Snapshot<IoSpaceState> = {
    kind: 'mappings',
    version: 1,
    save: () => ({
      regions: this.mapped.map(({ region }) => regionKey(region)),
      bases: Float64Array.from(this.mapped, ({ base }) => base),
    }),
    // The regions themselves were mapped by their devices.
    restore: ({ regions, bases }) => {
      const places = new Map(regions.map((key, i) => [`${key} ${bases[i]}`, i]));
      const place = ({ region, base }: IoMapping): number => places.get(`${regionKey(region)} ${base}`) ?? regions.length;
      this.mapped.sort((a, b) => place(a) - place(b));
    },
  };

  /** Who decodes this address. */
  find(address: number): IoMapping | undefined {
    for (const mapping of this.mapped) {
      if (address >= mapping.base && address < mapping.base + mapping.region.size) return mapping;
    }
    return undefined;
  }

  /** Read 1, 2, 4 or 8 bytes; gives the low 32 bits, unsigned; the rest of an 8-byte read is in `high`. */
  read(address: number, size: number): number {
    this.high = 0;
    if (size <= 4 && (address & (size - 1)) === 0) {
      const mapping = this.find(address);
      if (mapping === undefined) return widthMask(size);
      if (size <= mapping.region.widest) return this.readPiece(mapping, address, size);
    }
    let low = 0;
    let high = 0;
    for (let done = 0; done < size; ) {
      const piece = this.pieceSize(address + done, size - done);
      const owner = this.find(address + done);
      const value = owner === undefined ? widthMask(piece) : this.readPiece(owner, address + done, piece);
      if (done < 4) {
        low = (low | (value << (done * 8))) >>> 0;
        if (done > 0 && done + piece > 4) high = value >>> ((4 - done) * 8);
      } else {
        high = (high | (value << ((done - 4) * 8))) >>> 0;
      }
      done += piece;
    }
    this.high = high;
    return low;
  }

  /** Write 1, 2, 4 or 8 bytes; `low` and `high` are the data's halves, unsigned. */
  write(address: number, size: number, low: number, high = 0): void {
    if (size <= 4 && (address & (size - 1)) === 0) {
      const mapping = this.find(address);
      if (mapping === undefined) return;
      if (size <= mapping.region.widest) {
        this.writePiece(mapping, address, size, low);
        return;
      }
    }
    for (let done = 0; done < size; ) {
      const piece = this.pieceSize(address + done, size - done);
      const owner = this.find(address + done);
      if (owner !== undefined) {
        let value = done < 4 ? low >>> (done * 8) : high >>> ((done - 4) * 8);
        if (done > 0 && done < 4 && done + piece > 4) value |= high << ((4 - done) * 8);
        this.writePiece(owner, address + done, piece, lowBytes(value, piece));
      }
      done += piece;
    }
  }

  private pieceSize(address: number, left: number): number {
    const widest = this.find(address)?.region.widest ?? 4;
    let piece = Math.min(widest, 4);
    while (piece > left || (address & (piece - 1)) !== 0) piece >>= 1;
    return piece;
  }

  private readPiece(mapping: IoMapping, address: number, size: number): number {
    const offset = address - mapping.base;
    const value = lowBytes(mapping.region.read(offset, size), size);
    if (this.probe !== undefined) this.probe.read(mapping, offset, size, value);
    return value;
  }

  private writePiece(mapping: IoMapping, address: number, size: number, value: number): void {
    const offset = address - mapping.base;
    if (this.probe !== undefined) this.probe.write(mapping, offset, size, value);
    mapping.region.write(offset, size, lowBytes(value, size));
  }
}
