import type { Guest } from '../join/guest.ts';
import type { IoAccess } from '../join/io.ts';
import { MapCacheHistory } from '../join/mapcache.ts';
import { routeOf, stagesOf } from '../join/route.ts';
import type { Transmission } from '../join/transmit.ts';
import { describeFrame } from '../sources/ethernet.ts';
import { logLine } from '../sources/evidence.ts';
import { registerName } from './registers.ts';
import { hex, say, us, vcpuName, type AddressRow, type Sentence } from './story-model.ts';
import { list } from './words.ts';

/** A transmission in five plain sentences: what happened, which page, who translated, how long, what is unknown. */
export function summaryOf(
  g: Guest,
  tx: Transmission,
  walked: IoAccess | undefined,
  addresses: readonly AddressRow[],
  unknowns: readonly Sentence[],
): Sentence[] {
  return [happened(g, tx), page(g, tx, walked), translated(g, tx), howLong(walked), notShown(addresses, unknowns)];
}

function happened(g: Guest, tx: Transmission): Sentence {
  const frame = tx.frame.value;
  const what =
    frame !== undefined
      ? `frame ${frame.number} of the capture, ${describeFrame(frame.data)}, ${frame.wireLength} bytes`
      : tx.descriptor.length.value !== undefined
        ? `a frame of ${tx.descriptor.length.value} bytes`
        : 'a frame';
  const who = tx.access === undefined ? 'The guest' : `The guest's vCPU ${vcpuName(tx.access)}`;
  const data = tx.data === undefined ? '' : `${hex(tx.data)} `;
  const at = tx.doorbell ?? (tx.request === undefined ? undefined : `guest-physical ${hex(tx.request.request.addr)}`);
  const by =
    at === undefined
      ? ''
      : tx.polled
        ? `, when its ${tx.device} looked at the transmit ring at a ${directionOf(tx)} of ${at}`
        : `, by a write of ${data}to ${at} of its ${tx.device}`;
  const strength = frame === undefined ? (tx.kind === 'inferred' ? 'inferred' : 'strong') : tx.frame.strength;
  return say(`${who} sent ${what}${by}.`, strength, [
    ...(tx.access ? [tx.access.record.ref] : []),
    ...(tx.request ? [logLine(tx.request.request.line, g.log?.source)] : []),
    ...(frame === undefined && tx.access === undefined && tx.request === undefined && tx.chip[0] !== undefined
      ? [logLine(tx.chip[0].line, g.log?.source)]
      : []),
    ...tx.frame.refs,
  ]);
}

const directionOf = (tx: Transmission): 'read' | 'write' => tx.access?.dir ?? tx.request?.dir ?? 'write';

function page(g: Guest, tx: Transmission, walked: IoAccess | undefined): Sentence {
  const what =
    tx.access !== undefined || walked === undefined
      ? `The ${directionOf(tx)}`
      : `The write of ${registerName(g, walked, tx.window, tx.mode.value) ?? hex(walked.addr)}`;
  if (walked === undefined) {
    const request = (tx.request ?? tx.place.value?.request)?.request;
    if (request?.type === 1 && request.addr > 0xfffff)
      return say(`${what} went through the synchronous ioreq page, not the buffered one.`, 'strong', [
        logLine(request.line, g.log?.source),
      ]);
    return say('Through which page the write went is unknown.', 'unknown', []);
  }
  const route = routeOf(walked, g.pairing?.requestOf[walked.index], g.log, g.pairing?.reasonOf(walked));
  switch (route.value) {
    case 'synchronous ioreq':
      return say(
        `${what} went to the device model through slot ${walked.vcpu} of the synchronous ioreq page, not through the buffered one.`,
        route.strength === 'proven' ? 'strong' : route.strength,
        route.refs,
      );
    case 'buffered ioreq':
      return say(`${what} went to the device model through the buffered ioreq page.`, route.strength, route.refs);
    case 'in the hypervisor':
      return say(`${what} went through no page: Xen itself answered it.`, route.strength, route.refs);
    default:
      return say(`Through which page ${what.toLowerCase()} went is unknown.`, 'unknown', []);
  }
}

function translated(g: Guest, tx: Transmission): Sentence {
  if (tx.kind === 'chip memory')
    return say(
      'No address was translated: the frame lay in the memory of the chip.',
      'strong',
      tx.access ? [tx.access.record.ref] : tx.frame.refs,
    );
  if (g.log === undefined || tx.dma.length === 0)
    return say(
      'Who translated the guest-physical addresses of this frame is not in the files; it is Xen, through the p2m, whenever the device model maps a guest frame.',
      'unknown',
      [],
    );
  const history = new MapCacheHistory(g.log);
  const outcomes = tx.dma.map((d) => history.outcome(d));
  const misses = outcomes.filter((o) => o.value === 'miss');
  const refs = outcomes.flatMap((o) => o.refs).slice(0, 4);
  if (misses.length > 0)
    return say(
      `Xen translated guest-physical to machine addresses, through the p2m, when the device model had ${misses.length === 1 ? 'a bucket of frames' : `${misses.length} buckets of frames`} mapped for it.`,
      misses.some((o) => o.strength === 'inferred') ? 'inferred' : 'strong',
      misses.flatMap((o) => o.refs).slice(0, 4),
    );
  if (outcomes.every((o) => o.value === 'hit'))
    return say(
      'Nobody translated an address for it: the device model had the pages mapped before, by Xen through the p2m.',
      'strong',
      refs,
    );
  return say('Whether the device model had the pages mapped before or Xen translated for it now is unknown.', 'unknown', []);
}

function howLong(walked: IoAccess | undefined): Sentence {
  const stages = walked === undefined ? undefined : stagesOf(walked);
  if (walked === undefined || stages?.total === undefined) return say('How long the guest waited is unknown.', 'unknown', []);
  const { exit, entry } = walked.marks;
  const work = stages.work === undefined ? '' : `, ${us(stages.work)} of it with the device model`;
  return say(`The guest's vCPU was out of the guest for ${us(stages.total)}${work}.`, 'proven', [exit!.ref, entry!.ref]);
}

function notShown(addresses: readonly AddressRow[], unknowns: readonly Sentence[]): Sentence {
  const missing = [
    ...(addresses.some((r) => r.gva.value === undefined && r.gpa.value !== undefined) ? ['the guest-virtual addresses'] : []),
    ...(addresses.some((r) => r.mfn.value === undefined && r.gpa.value !== undefined) ? ['the machine frames'] : []),
    ...(addresses.some((r) => r.gpa.value === undefined) ? ['where the frame lay'] : []),
    ...(unknowns.some((u) => u.text.startsWith("The descriptor's contents")) ? ["the descriptor's contents"] : []),
    ...(unknowns.some((u) => u.text.startsWith('The frame on the wire')) ? ['the frame on the wire'] : []),
    ...(unknowns.some((u) => u.text.startsWith('What the device model did')) ? ['what the device model did'] : []),
  ];
  return missing.length === 0
    ? say(
        'Nothing that this story asks for is missing from the files.',
        'strong',
        addresses.flatMap((r) => r.gpa.refs).slice(0, 1),
      )
    : say(`The files do not show ${list(missing)}.`, 'unknown', []);
}
