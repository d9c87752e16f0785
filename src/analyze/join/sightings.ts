import type { CapturedFrame } from '../sources/pcap.ts';

/** Two interfaces of one host see the same frame within this. Microseconds. */
const SAME_WITHIN_US = 1000;
const ETHERTYPE_VLAN = 0x8100;
const ETHERTYPE_QINQ = 0x88a8;
/** Shortest Ethernet frame without its checksum, and the checksum. */
export const MIN_FRAME = 60;
const FCS = 4;
/** Bytes of a VLAN tag. */
export const TAG = 4;

/** Bytes of a frame without its VLAN tags. */
function untagged(data: Uint8Array): Uint8Array {
  let tags = 0;
  for (;;) {
    const at = 12 + TAG * tags;
    const type = (data[at] ?? 0) * 256 + (data[at + 1] ?? 0);
    if (type !== ETHERTYPE_VLAN && type !== ETHERTYPE_QINQ) break;
    tags++;
  }
  if (tags === 0) return data;
  const plain = new Uint8Array(data.length - TAG * tags);
  plain.set(data.subarray(0, 12));
  plain.set(data.subarray(12 + TAG * tags), 12);
  return plain;
}

/** Whether two captured frames are the same one, tags, padding, checksum and a cut end put aside. */
function sameFrame(a: CapturedFrame, b: CapturedFrame): boolean {
  const p = untagged(a.data);
  const q = untagged(b.data);
  const common = Math.min(p.length, q.length);
  if (common < 14) return false;
  for (let i = 0; i < common; i++) if (p[i] !== q[i]) return false;
  if (p.length === q.length) return true;
  const [short, long, shortFrame] = p.length < q.length ? [p, q, a] : [q, p, b];
  // A cut frame says so: it was longer on the wire.
  if (shortFrame.data.length < shortFrame.wireLength) return true;
  const rest = long.subarray(common);
  const padding = short.length < MIN_FRAME && long.length === MIN_FRAME ? rest.length : 0;
  return rest.length === FCS || (padding > 0 && rest.every((byte) => byte === 0));
}

/** Frames that are another sight of one before, on another interface of the same capture: their numbers, and that one's. */
export function sightings(frames: readonly CapturedFrame[]): Map<number, CapturedFrame> {
  const found = new Map<number, CapturedFrame>();
  if (new Set(frames.map((f) => f.interfaceId)).size < 2) return found;
  const inTime = [...frames].sort((a, b) => a.timeUs - b.timeUs || a.number - b.number);
  /** Interfaces that have seen a frame already. */
  const seen = new Map<CapturedFrame, Set<number>>();
  inTime.forEach((frame, i) => {
    for (let j = i - 1; j >= 0 && frame.timeUs - inTime[j]!.timeUs <= SAME_WITHIN_US; j--) {
      const other = inTime[j]!;
      const faces = seen.get(other);
      if (found.has(other.number) || faces?.has(frame.interfaceId) === true || !sameFrame(frame, other)) continue;
      found.set(frame.number, other);
      faces?.add(frame.interfaceId);
      return;
    }
    seen.set(frame, new Set([frame.interfaceId]));
  });
  return found;
}
