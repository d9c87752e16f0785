import { errorUsText, traceToWallUs, type ClockAlignment } from '../join/clock.ts';
import type { Guest } from '../join/guest.ts';
import type { IoAccess } from '../join/io.ts';
import type { MapCacheHistory, MapCacheOutcome } from '../join/mapcache.ts';
import { p2mTypeName, routeOf, type Route } from '../join/route.ts';
import type { Transmission } from '../join/transmit.ts';
import { claim, logLine, pcapFrame, unknown, type Claim, type Ref, type Strength } from '../sources/evidence.ts';
import { Hypercall } from '../sources/events.ts';
import { registerName } from './registers.ts';
import { list } from './words.ts';
import { hex, say, sayClaim, us, vcpuName, type AddressRow, type Sentence } from './story-model.ts';

/** Guest-virtual address of a guest-physical one, as far as anybody knows it. */
export function gvaText(a: Guest, gpa: number | undefined): Claim<string> {
  if (gpa === undefined) return unknown('its guest-physical address is unknown');
  const gva = a.gvaOf(gpa);
  return gva.value === undefined ? unknown(gva.why) : claim(hex(gva.value), gva.strength as 'proven', gva.why, gva.refs);
}

/** Where the device model has a guest-physical address: as logged, or beside another address of the same page. */
function mappingOf(a: Guest, tx: Transmission, gpa: number | undefined): Claim<string> {
  if (a.log === undefined) return unknown('no device-model log was given');
  const page =
    gpa === undefined ? [] : tx.dma.filter((d) => d.pointer !== undefined && Math.floor(d.gpa / 4096) === Math.floor(gpa / 4096));
  const same = page.find((d) => d.gpa === gpa);
  if (same !== undefined)
    return claim(hex(BigInt('0x' + same.pointer!)), 'proven', 'the log prints it', [logLine(same.line, a.log.source)]);
  const near = page[0];
  if (near === undefined || gpa === undefined) return unknown('the log has no map-cache line for it');
  return claim(
    hex(BigInt('0x' + near.pointer!) + BigInt(gpa - near.gpa)),
    'strong',
    'another address of the same page is mapped beside it',
    [logLine(near.line, a.log.source)],
  );
}

/** Every number of a transmission in every address space. */
export function addressesOf(a: Guest, tx: Transmission, walked: IoAccess | undefined): AddressRow[] {
  const rows: AddressRow[] = [];
  const dom = walked?.dom ?? tx.access?.dom;
  const atNs = (walked ?? tx.access)?.record.timeNs;
  const ram = (what: string, gpa: Claim<number>): void => {
    const frame =
      gpa.value === undefined || dom === undefined ? undefined : a.p2m.lookup(dom, Math.floor(gpa.value / 4096), atNs);
    rows.push({
      what,
      gva: gvaText(a, gpa.value),
      gpa: gpa.value === undefined ? unknown(gpa.why) : claim(hex(gpa.value), gpa.strength as 'proven', gpa.why, gpa.refs),
      mfn:
        frame === undefined
          ? unknown(gpa.value === undefined ? 'its guest-physical address is unknown' : 'no trace record names this frame')
          : frame.value === undefined
            ? unknown(frame.why)
            : claim(hex(frame.value.mfn), frame.strength as 'proven', frame.why, frame.refs),
      mapping: mappingOf(a, tx, gpa.value),
    });
  };
  const register = tx.access ?? walked;
  if (register !== undefined && register.space === 'mmio') {
    const npf = register.npf;
    rows.push({
      what: `register ${registerName(a, register, tx.window, tx.mode.value) ?? ''}`.trim(),
      gva: gvaText(a, register.addr),
      gpa: claim(hex(register.addr), 'proven', 'the MMIO record holds it', [register.record.ref]),
      mfn:
        npf === undefined
          ? unknown('no NPF record accompanies it')
          : npf.mfn === undefined
            ? claim(`none: ${p2mTypeName(npf.p2mType)}`, 'proven', 'the NPF record says INVALID_MFN', [npf.ref])
            : claim(hex(npf.mfn), 'proven', 'the NPF record holds it', [npf.ref]),
      mapping: claim(
        'none: it is an address in the ioreq',
        'strong',
        'a register is served by a handler, not by memory',
        register.npf ? [register.npf.ref] : [],
      ),
    });
  }
  if (tx.kind === 'ring') {
    const ring = tx.place;
    ram(
      'transmit ring',
      ring.value === undefined ? unknown(ring.why) : claim(ring.value.place.base, ring.strength as 'proven', ring.why, ring.refs),
    );
    ram(`descriptor ${tx.descriptor.index.value ?? ''}`.trim(), tx.descriptor.gpa);
  }
  if (tx.kind !== 'chip memory') ram('frame buffer', tx.descriptor.buffer);
  return rows;
}

const ROUTE_ANSWER: Record<Route, string> = {
  'synchronous ioreq': 'Through the synchronous ioreq page ("shared memory page"), not the buffered one',
  'buffered ioreq': 'Through the buffered ioreq page',
  'in the hypervisor': 'Through neither page: Xen itself answered',
};

function routeFor(a: Guest, access: IoAccess): Claim<Route> {
  return routeOf(access, a.pairing?.requestOf[access.index], a.log, a.pairing?.reasonOf(access));
}

/** Which page did the request go through? */
export function routeSentences(a: Guest, tx: Transmission, walked: IoAccess | undefined): Sentence[] {
  const out: Sentence[] = [];
  if (walked === undefined) {
    const request = tx.request ?? tx.place.value?.request;
    if (request !== undefined && request.request.type === 1 && request.request.addr > 0xfffff) {
      out.push(
        say(
          `Through the synchronous ioreq page: the log shows the request at ${hex(request.request.addr)}, which the 20 address bits of a buffered slot cannot hold.`,
          'strong',
          [logLine(request.request.line, a.log?.source)],
        ),
      );
    } else out.push(say('Unknown: no trace was given, and the log marks no request as buffered.', 'unknown', []));
    return out;
  }
  const route = routeFor(a, walked);
  const what =
    tx.access === undefined
      ? `the write of ${registerName(a, walked, tx.window, tx.mode.value) ?? hex(walked.addr)}`
      : `the ${tx.doorbell === undefined ? `write of ${hex(walked.addr)}` : `${tx.doorbell} write`}`;
  out.push(sayClaim(route, (r) => `${ROUTE_ANSWER[r]}, for ${what}: ${route.why}.`, `Which way ${what} went`));
  const { marks } = walked;
  if (marks.notified !== undefined && marks.exit !== undefined && marks.model !== undefined) {
    out.push(
      say(
        `The notification is visible: ${vcpuName(marks.model)} went blocked→runnable ${us(marks.notified.timeNs - marks.exit.timeNs)} after the exit, while ${vcpuName(walked)} was still inside it.`,
        'proven',
        [marks.exit.ref, marks.notified.ref],
      ),
    );
  }
  if (tx.window !== undefined && a.accesses.length > 1) {
    const own = a.accesses.filter(
      (x) => x.space === tx.window!.space && x.addr >= tx.window!.base && x.addr < tx.window!.base + tx.window!.block.size,
    );
    const waited = own.filter((x) => x.marks.blocked !== undefined).length;
    const paired = own.filter((x) => a.pairing?.requestOf[x.index] !== undefined).length;
    const buffered = own.filter((x) => routeFor(a, x).value === 'buffered ioreq').length;
    if (own.length > 1) {
      out.push(
        say(
          `Of all ${own.length} accesses to this device, ${waited} show the wait${waited < own.length ? ` (${own.length - waited} ${own.length - waited === 1 ? 'does' : 'do'} not: the answer came before the vCPU was descheduled, or records are lost)` : ''}${a.log === undefined ? '' : `, ${paired} are in the device-model log with equal data`}, ${buffered} may have been buffered.`,
          'proven',
          [own[0]!.record.ref, own[own.length - 1]!.record.ref],
        ),
      );
    }
  }
  return out;
}

/** Why a guest-physical address, and who translates? */
export function translationSentences(
  a: Guest,
  tx: Transmission,
  walked: IoAccess | undefined,
  history: MapCacheHistory | undefined,
): Sentence[] {
  const out: Sentence[] = [];
  const source = a.log?.source;
  const { place, descriptor: d } = tx;
  const put = place.value?.place;
  if (put !== undefined && tx.kind === 'ring') {
    const bytes = (put.count ?? 1) * (put.descriptorBytes ?? 0);
    const touched = d.gpa.value !== undefined && d.gpa.value >= put.base && d.gpa.value < put.base + bytes;
    out.push(
      say(
        `The driver knows only guest-physical addresses: it wrote ${hex(put.base)} into ${put.register}${touched ? `, and the device model looked for descriptor ${d.index.value ?? ''} at ${hex(d.gpa.value!)}, unchanged` : ''}.`,
        touched ? (d.gpa.strength === 'proven' ? 'proven' : 'strong') : place.strength,
        [...place.refs, ...(touched ? d.gpa.refs : [])],
      ),
    );
    if (d.buffer.value !== undefined) {
      const mode = tx.mode.value === undefined || tx.window!.chip.modes.length < 2 ? '' : `in ${tx.mode.value} mode `;
      const word =
        d.words.value === undefined
          ? ''
          : `, the ${tx.window!.chip.descriptor('transmit', d.words.value, tx.mode.value).bufferWord} word of the descriptor`;
      out.push(
        say(
          `${hex(put.base)} is not the address of the frame: ${mode}${put.register} is the base of the descriptor ring. The frame lay at ${hex(d.buffer.value)}${word}.`,
          d.buffer.strength,
          [...place.refs, ...d.buffer.refs],
        ),
      );
    }
  } else if (put !== undefined) {
    out.push(
      say(
        `The driver knows only guest-physical addresses: it wrote ${hex(put.base)} into ${put.register}${tx.dma.some((x) => x.gpa === put.base) ? ', and the device model asked its map cache for exactly that' : ''}.`,
        place.strength,
        [...place.refs, ...d.buffer.refs],
      ),
    );
  }
  const mfns = [d.gpa, d.buffer]
    .map((g) =>
      g.value === undefined || walked === undefined
        ? undefined
        : { gpa: g.value, frame: a.p2m.lookup(walked.dom, Math.floor(g.value / 4096), walked.record.timeNs) },
    )
    .filter((x) => x !== undefined);
  for (const { gpa, frame } of mfns) {
    if (frame.value !== undefined)
      out.push(
        say(
          `The p2m, Xen's table, maps guest frame ${hex(Math.floor(gpa / 4096))} to machine frame ${hex(frame.value.mfn)}; neither driver nor chip ever names the machine frame.`,
          frame.strength,
          frame.refs,
        ),
      );
  }
  const calls = mappingCalls(a, tx, history);
  if (history !== undefined && tx.dma.length > 0) {
    const first = tx.dma.filter((x, i) => tx.dma.findIndex((y) => Math.floor(y.gpa / 4096) === Math.floor(x.gpa / 4096)) === i);
    const hits: Transmission['dma'][number][] = [];
    for (const x of first) {
      const outcome = withHypercalls(history.outcome(x), calls);
      if (outcome.value === 'hit') hits.push(x);
      out.push(
        sayClaim(
          outcome,
          (o) =>
            o === 'hit'
              ? `${hex(x.gpa)} was in the map cache: ${outcome.why}; the access is a plain memory copy, without hypercall, exit or trace record.`
              : `${hex(x.gpa)} was not in the map cache: ${outcome.why}; here the device model asked Xen to map the guest frames, and Xen translated through the p2m.`,
          `Whether ${hex(x.gpa)} was already mapped`,
        ),
      );
    }
    if (hits.length === first.length) out.push(translatedBefore(history, hits));
    const totals = history.totals();
    out.push(
      say(
        `In the whole log ${totals.accesses} memory accesses of the device model use ${totals.mappings} mapping${totals.mappings === 1 ? '' : 's'}${totals.remaps > 0 ? `, made by ${totals.remaps} remap${totals.remaps === 1 ? '' : 's'}` : ''}: translation happens once a bucket, not once an access.`,
        'proven',
        [logLine(tx.dma[0]!.line, source)],
      ),
    );
  } else if (a.log !== undefined) {
    out.push(
      say(
        `${history !== undefined && history.totals().accesses > 0 ? 'No map-cache line of the log belongs to this frame' : 'The log holds no map-cache lines (xen_map_cache)'}: when these pages were mapped is unknown. The device model maps guest frames by a hypercall when its map cache misses, then copies memory; a hit leaves no trace.`,
        'unknown',
        [],
      ),
    );
  }
  out.push(calls.sentence);
  return out;
}

const STRENGTHS: readonly Strength[] = ['proven', 'strong', 'inferred', 'unknown'];

/** Who translated, where every address of a packet was mapped already: Xen, when the buckets were mapped. */
function translatedBefore(history: MapCacheHistory, hits: readonly Transmission['dma'][number][]): Sentence {
  const origins = hits.map((hit) => ({ hit, by: history.mappedBy(hit) }));
  const known = origins.filter((o) => o.by.value !== undefined);
  const when =
    known.length === 0
      ? 'before anything this log shows'
      : `${known.map((o) => `${hex(o.hit.gpa)} at log line ${o.by.value!.line}`).join(', ')}${known.length < origins.length ? ', the others before anything this log shows' : ''}`;
  const weakest = Math.max(1, ...known.map((o) => STRENGTHS.indexOf(o.by.strength)));
  return say(
    `Who translated them: Xen, through the p2m, when the device model had their buckets mapped (${when}); nobody for this packet.`,
    STRENGTHS[weakest]!,
    origins.flatMap((o) => o.by.refs),
  );
}

const MAPPING_CALLS: readonly [number, string][] = [
  [Hypercall.mmuUpdate, 'mmu_update'],
  [Hypercall.updateVaMapping, 'update_va_mapping'],
  [Hypercall.updateVaMappingOther, 'update_va_mapping_otherdomain'],
  [Hypercall.memoryOp, 'memory_op'],
  [Hypercall.grantTableOp, 'grant_table_op'],
  [Hypercall.multicall, 'multicall'],
];

interface MappingCalls {
  /** true: no hypercall that could map anything fell between exit and entry, and none can be missing. */
  readonly none: boolean;
  readonly sentence: Sentence;
}

/** The log alone may leave open whether a page was mapped before; the hypercalls then settle it. */
function withHypercalls(outcome: Claim<MapCacheOutcome>, calls: MappingCalls): Claim<MapCacheOutcome> {
  if (outcome.value !== undefined || !calls.none) return outcome;
  return claim(
    'hit',
    'strong',
    'it is the first use of its bucket in this log, but between exit and entry dom0 made no hypercall that maps memory',
    [...outcome.refs, ...calls.sentence.refs],
  );
}

function mappingCalls(a: Guest, tx: Transmission, history: MapCacheHistory | undefined): MappingCalls {
  const { access } = tx;
  const open = (text: string, refs: readonly Ref[] = []): MappingCalls => ({ none: false, sentence: say(text, 'unknown', refs) });
  if (a.hypercallRecords === 0 && history?.remapsLogged === true && tx.doorbellDma.length > 0) {
    const remaps = tx.doorbellDma.filter((d) => d.remapIndex !== undefined);
    const refs = [tx.doorbellDma[0]!, tx.doorbellDma[tx.doorbellDma.length - 1]!].map((d) => logLine(d.line, a.log?.source));
    return remaps.length > 0
      ? {
          none: false,
          sentence: say(
            `${remaps.length === 1 ? 'One remap falls' : `${remaps.length} remaps fall`} into this request: each is a hypercall of the device model that maps a bucket of guest frames, where Xen translates through the p2m.`,
            'proven',
            remaps.map((d) => logLine(d.line, a.log?.source)),
          ),
        }
      : {
          none: true,
          sentence: say(
            'The device model logs every remap of its map cache, and none falls into this request: no hypercall mapped or translated anything for this packet.',
            'strong',
            refs,
          ),
        };
  }
  if (a.hypercallRecords === 0)
    return open('Whether a hypercall mapped or translated anything meanwhile is unknown: the files hold no hypercall records.');
  if (access?.marks.exit === undefined)
    return open('Whether a hypercall fell into this request is unknown: the doorbell is not in the trace.');
  const { entry: end } = access.marks;
  if (access.lost !== undefined || end === undefined)
    return open('Whether a hypercall fell into this request is unknown: records are lost, or the trace ends inside it.', [
      access.record.ref,
    ]);
  const seen = MAPPING_CALLS.map(([n, name]) => ({ name, call: access.hypercalls.get(n) })).filter((x) => x.call !== undefined);
  if (seen.length > 0) {
    const made = `Between exit and entry dom0 made ${seen.map((x) => `${x.call!.count} ${x.name}`).join(', ')}`;
    const refs = seen.map((x) => x.call!.ref);
    const outcomes = tx.doorbellDma.map((d) => history?.outcome(d).value);
    if (outcomes.length > 0 && outcomes.every((o) => o === 'hit')) {
      return {
        none: false,
        sentence: say(
          `${made}: none of them was needed for this packet, for every address the device model asked for was in its map cache. A PV dom0 makes such calls for its own page tables too; the records do not hold their operands.`,
          'strong',
          refs,
        ),
      };
    }
    if (outcomes.includes('miss')) {
      return {
        none: false,
        sentence: say(
          `${made}: the mapping that the miss caused is likely among them; the records do not hold their operands.`,
          'inferred',
          refs,
        ),
      };
    }
    return open(`${made}: whether one of them mapped guest frames is unknown, the records do not hold their operands.`, refs);
  }
  return {
    none: true,
    sentence: say(
      `Between exit and entry dom0 made ${access.hypercalls.total} hypercalls (iret not counted), none of them one that maps memory (${MAPPING_CALLS.map(([, name]) => name).join(', ')}): nothing was mapped or translated for this packet.`,
      'proven',
      [access.marks.exit.ref, end.ref],
    ),
  };
}

/** The address spaces in which no file shows a thing's number. */
export function missingAddresses(rows: readonly AddressRow[]): Sentence[] {
  const out: Sentence[] = [];
  const gvas = rows.filter((r) => r.gva.value === undefined && r.gpa.value !== undefined);
  if (gvas.length > 0)
    out.push(say(`The guest-virtual address of ${list(gvas.map((r) => r.what))}: ${gvas[0]!.gva.why}.`, 'unknown', []));
  const mfns = rows.filter((r) => r.mfn.value === undefined && r.gpa.value !== undefined);
  if (mfns.length > 0)
    out.push(say(`The machine frame of ${list(mfns.map((r) => r.what))}: ${mfns[0]!.mfn.why}.`, 'unknown', []));
  return out;
}

/** What the files do not show. */
export function unknownSentences(a: Guest, tx: Transmission, walked: IoAccess | undefined): Sentence[] {
  const out: Sentence[] = [];
  out.push(...missingAddresses(addressesOf(a, tx, walked)));
  if (tx.kind === 'ring' && tx.descriptor.words.value === undefined)
    out.push(say(`The descriptor's contents: ${tx.descriptor.words.why}.`, 'unknown', []));
  if (tx.frame.value === undefined) out.push(say(`The frame on the wire: ${tx.frame.why}.`, 'unknown', []));
  if (walked !== undefined && walked.marks.blocked === undefined)
    out.push(
      say('Whether the vCPU waited: there is no running→offline record between exit and entry.', 'unknown', [walked.record.ref]),
    );
  if (a.log === undefined) out.push(say('What the device model did: no log of it was given.', 'unknown', []));
  if (tx.kind === 'inferred')
    out.push(
      say(
        'Which descriptor and which buffer the frame came from: the chip is not known here, so its registers and descriptors are not read.',
        'unknown',
        [],
      ),
    );
  return out;
}

/** How the files were joined, and what matched nothing. */
export function joinSentences(a: Guest): Sentence[] {
  const out: Sentence[] = [];
  const { clock, pairing } = a;
  if (pairing !== undefined && a.accesses.length > 0) {
    const reasons = new Map<string, number>();
    const count = (what: string): void => {
      reasons.set(what, (reasons.get(what) ?? 0) + 1);
    };
    for (const u of pairing.unpairedAccesses) count(`access%s (${u.reason})`);
    for (const u of pairing.unpairedRequests) count(`request%s of the log (${u.reason})`);
    const rest = [...reasons]
      .map(([what, n]) => `${n} ${what.replace('%s', n === 1 ? '' : what.startsWith('access') ? 'es' : 's')}`)
      .join('; ');
    out.push(
      say(
        `Trace and log pair ${pairing.pairs} of ${a.accesses.length} access${a.accesses.length === 1 ? '' : 'es'} with ${a.log!.requests.length} request${a.log!.requests.length === 1 ? '' : 's'}, one to one, in order, with equal data${rest === '' ? '' : `; unpaired: ${rest}`}.`,
        'proven',
        pairRefs(a),
      ),
    );
  }
  if (clock !== undefined) out.push(clockSentence(a, clock));
  const rate = rateText(a.tscRate);
  if (rate !== undefined)
    out.push(say(`${rate}.`, a.tscRate!.by === 'assumed' ? 'unknown' : 'strong', a.pairing === undefined ? [] : pairRefs(a)));
  const { offset } = a.capture;
  if (a.frames.length > 0 && offset.value !== undefined && offset.value !== 0)
    out.push(
      say(
        `The capture's clock is ${us(Math.abs(offset.value) * 1000)} ${offset.value > 0 ? 'ahead of' : 'behind'} the log's, ±${errorUsText({ errorUs: a.capture.offsetErrorUs })} µs: ${offset.why}.`,
        offset.strength,
        offset.refs,
      ),
    );
  for (const lost of a.lost.slice(0, 3))
    out.push(
      say(
        `${lost.count} records of pCPU ${lost.pcpu} were lost${lost.untilNs > lost.timeNs ? ` from ${(lost.timeNs / 1e9).toFixed(6)} to ${(lost.untilNs / 1e9).toFixed(6)} s` : ` before ${(lost.untilNs / 1e9).toFixed(6)} s`}.`,
        'proven',
        [lost.ref],
      ),
    );
  if (a.lost.length > 3) out.push(say(`${a.lost.length - 3} more losses follow.`, 'proven', [a.lost[a.lost.length - 1]!.ref]));
  if (a.captureDamage !== undefined)
    out.push(
      say(
        `The capture is damaged: ${a.captureDamage}; frames before it were used.`,
        'proven',
        a.frames.slice(-1).map((f) => pcapFrame(f.number)),
      ),
    );
  return out;
}

/** How long a tick of the trace was taken to be, and by what; nothing where it was told and fits. */
export function rateText(rate: Guest['tscRate']): string | undefined {
  if (rate === undefined) return undefined;
  const instead = rate.insteadOf === undefined ? '' : `, not the ${rate.insteadOf} Hz that was given or assumed`;
  switch (rate.by) {
    case 'told':
    case 'log header':
      return undefined;
    case 'pairs':
      return `The trace's times are by a TSC of ${Math.round(rate.hz)} ±${Math.ceil(rate.errorHz ?? 0)} Hz, at which trace and log run equally fast${instead}`;
    case 'console':
      return `The trace's times are by a TSC of ${rate.hz} Hz, which the guest's kernel printed${instead}`;
    case 'assumed':
      return `The trace's times are by an assumed TSC of ${rate.hz} Hz, as xenalyze assumes it: no file gives the rate; --cpu-hz sets it`;
  }
}

/** Wall-clock seconds since 1970, with so many decimals. */
export function wallText(a: Pick<Guest, 'wallBase'>, us: number, decimals: number): string {
  const whole = Math.floor(us / 1e6);
  const part = (us / 1e6 - whole).toFixed(decimals);
  return part.startsWith('1') ? `${a.wallBase + whole + 1}.${'0'.repeat(decimals)}` : `${a.wallBase + whole}${part.slice(1)}`;
}

/** The first and the last pair; without one, the first access and the first request. */
function pairRefs(a: Guest): Ref[] {
  const of = (access: IoAccess): Ref[] => {
    const request = a.pairing!.requestOf[access.index];
    return [access.record.ref, ...(request ? [logLine(request.request.line, a.log?.source)] : [])];
  };
  const paired = a.accesses.filter((x) => a.pairing!.requestOf[x.index] !== undefined);
  const first = paired[0] ?? a.accesses[0]!;
  const last = paired.at(-1);
  const request = a.log!.requests[0];
  return [
    ...of(first),
    ...(last !== undefined && last !== first ? of(last) : []),
    ...(paired.length === 0 && request !== undefined ? [logLine(request.request.line, a.log?.source)] : []),
  ];
}

function clockSentence(a: Guest, clock: ClockAlignment): Sentence {
  const header = clock.headerLine === undefined ? [] : [logLine(clock.headerLine, a.log?.source)];
  const decimals = clock.errorUs === 0 ? 9 : 6;
  const at = (ns: number): string =>
    `trace time ${(ns / 1e9).toFixed(6)} s is ${wallText(a, traceToWallUs(clock, ns), decimals)}`;
  if (clock.by === 'log header') {
    return say(
      `The log's header says which of its times is TSC 0: ${at(0)}${clock.errorUs === 0 ? ', exactly' : ` ±${errorUsText(clock)} µs`}; ${clock.pairsUsed} pairs agree.`,
      'proven',
      header,
    );
  }
  const contradicted =
    clock.headerLine === undefined
      ? ''
      : `; the TSC rate in the log's header contradicts ${clock.headerContradictedBy} pairs and was not used`;
  const rateError = clock.rateError === undefined ? '' : ` ±${(clock.rateError * 1e6).toFixed(1)}`;
  const outliers =
    clock.outliers.length === 0
      ? ''
      : `; ${clock.outliers.length === 1 ? '1 pair contradicts the rest and was' : `${clock.outliers.length} pairs contradict the rest and were`} left out`;
  return say(
    `The log's clock is laid over the trace's by ${clock.pairsUsed} pairs: ${at(clock.centreNs)} ±${(Math.ceil(clock.errorUs) / 1e6).toFixed(6)}, drift ${((clock.rate - 1) * 1e6).toFixed(1)}${rateError} ppm${clock.consistent ? '' : '; the pairs contradict each other, so the error is that of a median'}${outliers}${contradicted}.`,
    clock.consistent ? 'strong' : 'inferred',
    [...header, ...pairRefs(a)],
  );
}
