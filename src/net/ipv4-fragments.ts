/**
 * IPv4 fragments (RFC 791, 3.2): datagrams put together from pieces in any order, and cut to fit a frame. Memory is
 * bounded: a few datagrams at a time, the one begun longest ago gives way, so no timer is needed.
 */
import { UserError } from '../base/errors.ts';
import type { Snapshot } from '../base/snapshot.ts';
import { ETH_ALEN, ETH_HLEN, ETH_ZLEN, be16, putBe16 } from '../base/ethernet.ts';
import { checksum, putIpv4, type Ipv4Layout } from './frame.ts';

const DATAGRAMS = 4;
const MORE_FRAGMENTS = 0x2000;
const OFFSET_MASK = 0x1fff;
const BLOCK = 8;
const MAX_PAYLOAD = 65_535 - 20;
const MAX_BLOCKS = Math.ceil(MAX_PAYLOAD / BLOCK);
/** Payload of one frame: 1500 bytes less the header, a whole number of blocks. */
const FRAGMENT_PAYLOAD = 1480;

interface Datagram {
  readonly key: string;
  readonly payload: Uint8Array;
  /** One byte a block of 8: there. */
  readonly have: Uint8Array;
  blocks: number;
  /** Payload length, -1 until the last fragment has come. */
  length: number;
}

/** Datagrams half put together. */
export interface Ipv4ReassemblerState {
  readonly datagrams: readonly Datagram[];
}

export class Ipv4Reassembler implements Snapshot<Ipv4ReassemblerState> {
  readonly kind = 'IPv4 fragments';
  readonly version = 1;
  private datagrams: Datagram[] = [];

  /**
   * Take a fragment; gives the whole payload when it was the missing one. Fragments that cannot be (past 64 KiB, a middle
   * one of odd length, one that overlaps or contradicts another) end their datagram.
   */
  add(frame: Uint8Array, ip: Ipv4Layout): Uint8Array | undefined {
    const field = be16(frame, ip.header + 6);
    const offset = (field & OFFSET_MASK) * BLOCK;
    const more = (field & MORE_FRAGMENTS) !== 0;
    const size = ip.end - ip.payload;
    const key = `${ip.source} ${ip.destination} ${ip.protocol} ${be16(frame, ip.header + 4)}`;
    const datagram = this.find(key);
    const end = offset + size;
    const wrong =
      size === 0 ||
      end > MAX_PAYLOAD ||
      (more && size % BLOCK !== 0) ||
      (datagram.length >= 0 && (!more || end > datagram.length));
    if (wrong || !this.fill(datagram, offset, end)) {
      this.drop(datagram);
      return undefined;
    }
    datagram.payload.set(frame.subarray(ip.payload, ip.end), offset);
    if (!more) datagram.length = end;
    if (datagram.length < 0 || datagram.blocks !== Math.ceil(datagram.length / BLOCK)) return undefined;
    this.drop(datagram);
    return datagram.payload.subarray(0, datagram.length);
  }

  save(): Ipv4ReassemblerState {
    return { datagrams: this.datagrams.map((d) => ({ ...d, payload: d.payload.slice(), have: d.have.slice() })) };
  }

  restore({ datagrams }: Ipv4ReassemblerState): void {
    const fits = (d: Datagram): boolean =>
      d.payload.length === MAX_PAYLOAD && d.have.length === MAX_BLOCKS && d.length <= MAX_PAYLOAD;
    if (datagrams.length > DATAGRAMS || !datagrams.every(fits))
      throw new UserError('saved state of the IPv4 fragments: datagrams of another size');
    this.datagrams = datagrams.map((d) => ({ ...d, payload: d.payload.slice(), have: d.have.slice() }));
  }

  private find(key: string): Datagram {
    let datagram = this.datagrams.find((d) => d.key === key);
    if (datagram === undefined) {
      datagram = {
        key,
        payload: new Uint8Array(MAX_PAYLOAD),
        have: new Uint8Array(MAX_BLOCKS),
        blocks: 0,
        length: -1,
      };
      this.datagrams.push(datagram);
      if (this.datagrams.length > DATAGRAMS) this.datagrams.shift();
    }
    return datagram;
  }

  private fill(datagram: Datagram, offset: number, end: number): boolean {
    for (let block = offset / BLOCK; block * BLOCK < end; block++) {
      if (datagram.have[block] !== 0) return false;
      datagram.have[block] = 1;
      datagram.blocks++;
    }
    return true;
  }

  private drop(datagram: Datagram): void {
    this.datagrams = this.datagrams.filter((d) => d !== datagram);
  }
}

/** An IPv4 datagram in as many frames as it takes, in order; `ethernet` is the 14-byte header of each. */
export function ipv4Frames(
  ethernet: Uint8Array,
  source: number,
  destination: number,
  protocol: number,
  payload: Uint8Array,
  id: number,
): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let offset = 0; offset < payload.length; offset += FRAGMENT_PAYLOAD) {
    const piece = payload.subarray(offset, offset + FRAGMENT_PAYLOAD);
    const frame = new Uint8Array(Math.max(ETH_ZLEN, ETH_HLEN + 20 + piece.length));
    frame.set(ethernet.subarray(0, 2 * ETH_ALEN + 2));
    putIpv4(frame, source, destination, protocol, piece.length, id);
    const more = offset + piece.length < payload.length ? MORE_FRAGMENTS : 0;
    putBe16(frame, ETH_HLEN + 6, more | (offset / BLOCK));
    putBe16(frame, ETH_HLEN + 10, 0);
    putBe16(frame, ETH_HLEN + 10, checksum(frame, ETH_HLEN, ETH_HLEN + 20));
    frame.set(piece, ETH_HLEN + 20);
    frames.push(frame);
  }
  return frames;
}
