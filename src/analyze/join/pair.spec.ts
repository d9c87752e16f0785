import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { parseDmLine, type DmRequest } from '../sources/dm-lines.ts';
import { DmLogBuilder } from '../sources/dm-log.ts';
import { alignClocks, traceToWallUs } from './clock.ts';
import { IoBuilder, type IoAccess } from './io.ts';
import { pairRequests } from './pair.ts';
import { parseXenalyzeLine } from '../sources/xenalyze-text.ts';

interface Io {
  addr: number;
  data: number;
  vcpu?: number;
}

const WALL = 1_700_000_000;

function requestsOf(ios: readonly Io[], at: (i: number) => number = (i) => i): readonly DmRequest[] {
  const builder = new DmLogBuilder();
  let line = 0;
  ios.forEach(({ addr, data }, i) => {
    const stamp = (us: number): string => {
      const t = WALL * 1e6 + Math.floor(at(i) + us);
      return `${Math.floor(t / 1e6)}.${String(t % 1e6).padStart(6, '0')}`;
    };
    builder.add(
      parseDmLine(
        `1@${stamp(0)}:handle_ioreq I/O=0x1 type=1 dir=0 df=0 ptr=0 port=0x${addr.toString(16)} data=0x${data.toString(16)} count=1 size=4`,
        ++line,
      ),
    );
    builder.add(
      parseDmLine(`1@${stamp(3)}:memory_region_ops_write cpu -1 mr 0x1 addr 0x0 value 0x0 size 4 name 'rtl8139'`, ++line),
    );
  });
  return builder.log.requests;
}

/** A trace of writes: exit at `at(i)` µs, answer 10 µs later. */
function accessesOf(ios: readonly Io[], at: (i: number) => number = (i) => i * 100, dom = 1): IoAccess[] {
  const builder = new IoBuilder();
  const all: IoAccess[] = [];
  let line = 0;
  ios.forEach(({ addr, data, vcpu = 0 }, i) => {
    const who = `d${dom}v${vcpu}`;
    const t = (us: number): string => ((at(i) + us) / 1e6).toFixed(9);
    for (const text of [
      `] ${t(0)} -x ${who} vmexit exit_reason VMEXIT_NPF eip ffffffff81000000`,
      `] ${t(0)} -x ${who} mmio_assist w gpa ${addr.toString(16)} data ${data.toString(16)}`,
      ` ${t(2)} -x ${who} runstate_change ${who} running->offline`,
      ` ${t(10)} x- d0v0 runstate_change ${who} offline->runnable`,
      ` ${t(11)} -x ${who} runstate_change ${who} runnable->running`,
      `] ${t(12)} -x ${who} vmentry cycles 1 !`,
    ])
      all.push(...(builder.add(parseXenalyzeLine(text, ++line)!) ?? []));
  });
  return [...all, ...builder.finish()];
}

const io = fc.record({ addr: fc.constantFrom(0xf1000037, 0xf100003c, 0xf100003e, 0xf1000050), data: fc.nat(7) });

describe('pairing', () => {
  it('pairs a trace that lies inside the log, wherever it begins', () => {
    fc.assert(
      fc.property(fc.array(io, { minLength: 40, maxLength: 120 }), fc.nat(15), fc.nat(15), (ios, head, tail) => {
        const marked = ios.map((x, i) => (i % 7 === 3 ? { addr: 0xf1000020, data: i + 1 } : x)); // something that tells places apart
        const inner = marked.slice(head, marked.length - tail);
        const p = pairRequests(accessesOf(inner), requestsOf(marked));
        expect(p.unpairedAccesses).toEqual([]);
        p.requestOf.forEach((request, i) => expect(request!.index).toBe(i + head));
      }),
      { numRuns: 50 },
    );
  });

  it('never pairs unequal data, crosses, or uses a request twice, whatever is missing', () => {
    fc.assert(
      fc.property(
        fc.array(io, { maxLength: 80 }),
        fc.array(fc.boolean(), { maxLength: 80 }),
        fc.array(fc.boolean(), { maxLength: 80 }),
        (ios, dropA, dropB) => {
          const a = accessesOf(ios.filter((_, i) => !dropA[i]));
          const p = pairRequests(a, requestsOf(ios.filter((_, i) => !dropB[i])));
          let last = -1;
          p.requestOf.forEach((request, i) => {
            if (request === undefined) return;
            expect(request.index).toBeGreaterThan(last);
            last = request.index;
            expect(request.request.addr).toBe(a[i]!.addr);
            expect(request.data).toBe(a[i]!.data);
            expect(p.accessOf[request.index]).toBe(a[i]);
          });
          expect(p.pairs + p.unpairedAccesses.length).toBe(a.length);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('pairs string instructions, which have no data to compare, by the pairs around them', () => {
    const text = (gpa: number, at: number, how: string): string[] => [
      `] ${(at / 1e6).toFixed(9)} -x d1v0 vmexit exit_reason VMEXIT_NPF eip ffffffff81000000`,
      `] ${(at / 1e6).toFixed(9)} -x d1v0 mmio_assist w gpa ${gpa.toString(16)} ${how === 'string' ? '(no data)' : `data ${how}`}`,
      `] ${((at + 12) / 1e6).toFixed(9)} -x d1v0 vmentry cycles 1 !`,
    ];
    const steps: [number, string][] = [
      [0xf100010b, '1'],
      [0xf1000100, '12'],
      [0xf1000110, 'string'],
      [0xf1000110, 'string'],
      [0xf1000107, '40'],
      [0xf1000110, 'string'],
      [0xf1000100, '26'],
    ];
    const trace = (of: readonly [number, string][]): IoAccess[] => {
      const builder = new IoBuilder();
      const lines = of.flatMap(([gpa, how], i) => text(gpa, i * 100, how));
      return [...lines.flatMap((line, i) => builder.add(parseXenalyzeLine(line, i + 1)!) ?? []), ...builder.finish()];
    };
    const log = (of: readonly [number, string][]): readonly DmRequest[] => {
      const builder = new DmLogBuilder();
      of.forEach(([gpa, how], i) =>
        builder.add(
          parseDmLine(
            `1@${WALL}.${String(i * 100).padStart(6, '0')}:handle_ioreq I/O=0x1 type=1 dir=0 df=0 ptr=${how === 'string' ? 1 : 0} port=0x${gpa.toString(16)} data=0x${how === 'string' ? '7c00' : how} count=${how === 'string' ? 30 : 1} size=2`,
            i + 1,
          ),
        ),
      );
      return builder.log.requests;
    };
    const all = pairRequests(trace(steps), log(steps));
    expect([all.pairs, all.byPlace, all.unpairedRequests]).toEqual([7, 3, []]);
    expect(all.requestOf.map((r) => r!.index)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    // One of two is missing on a side: nobody can tell which; the third stands alone between its neighbours.
    const fewer = steps.filter((_, i) => i !== 2);
    for (const p of [pairRequests(trace(fewer), log(steps)), pairRequests(trace(steps), log(fewer))]) {
      expect([p.pairs, p.byPlace]).toEqual([5, 1]);
      expect(p.unpairedRequests.length + p.unpairedAccesses.length).toBe(3);
    }
  });

  it('pairs two vCPUs whose requests overtake each other, each in its own order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ vcpu: fc.nat(1), data: fc.nat(3) }), { minLength: 20, maxLength: 100 }),
        fc.array(fc.boolean(), { minLength: 100, maxLength: 100 }),
        (ops, swap) => {
          const all = ops.map((o, i) => ({ addr: 0xf1000020 + 4 * o.vcpu, data: i % 5 === 0 ? 100 + i : o.data, vcpu: o.vcpu }));
          const inLog = [...all];
          for (let i = 0; i + 1 < inLog.length; i++)
            if (swap[i] && inLog[i]!.vcpu !== inLog[i + 1]!.vcpu) [inLog[i], inLog[i + 1]] = [inLog[i + 1]!, inLog[i]!];
          const accesses = accessesOf(all);
          const p = pairRequests(accesses, requestsOf(inLog));
          for (const vcpu of [0, 1]) {
            const order = p.requestOf.filter((r, i) => r !== undefined && accesses[i]!.vcpu === vcpu).map((r) => r!.index);
            expect(order).toEqual([...order].sort((x, y) => x - y));
          }
          p.requestOf.forEach((r, i) => {
            if (r !== undefined) expect([r.request.addr, r.data]).toEqual([accesses[i]!.addr, accesses[i]!.data]);
          });
        },
      ),
      { numRuns: 60 },
    );
  });

  it('finds every request of two vCPUs that overtake each other, where the data tells them apart', () => {
    const all = Array.from({ length: 60 }, (_, i) => ({ addr: 0xf1000020, data: i, vcpu: i % 2 }));
    const inLog = all.map((_, i) => all[i % 4 === 1 ? i + 1 : i % 4 === 2 ? i - 1 : i]!);
    const p = pairRequests(accessesOf(all), requestsOf(inLog));
    expect(p.pairs).toBe(60);
    expect(p.unpairedRequests).toEqual([]);
  });

  it('takes the domain that fits the log, and leaves another guest alone', () => {
    const ios = Array.from({ length: 20 }, (_, i) => ({ addr: 0xf1000020, data: i }));
    const mine = accessesOf(ios);
    const other = accessesOf(
      [
        { addr: 0xf1000020, data: 3 },
        { addr: 0xf1000020, data: 9 },
      ],
      undefined,
      2,
    ).map((x) => ({ ...x, index: x.index + 20 }));
    const p = pairRequests([...mine, ...other], requestsOf(ios));
    expect(p.pairs).toBe(20);
    expect(new Set(p.unpairedAccesses.map((u) => u.reason))).toEqual(
      new Set(["another domain's: the log is of one guest's device model"]),
    );
  });

  it('leaves a moved log line unpaired on both sides and says so', () => {
    const ios = Array.from({ length: 30 }, (_, i) => ({ addr: 0xf1000020, data: i }));
    const moved = [...ios.slice(0, 10), ...ios.slice(11, 20), ios[10]!, ...ios.slice(20)];
    const p = pairRequests(accessesOf(ios), requestsOf(moved));
    expect(p.pairs).toBe(29);
    expect(p.unpairedAccesses.map((u) => [u.access.data, u.reason])).toEqual([
      [10n, 'no request with equal address, direction and data in this order'],
    ]);
    expect(p.unpairedRequests.map((u) => u.request.data)).toEqual([10n]);
  });

  it('tells requests before, after and outside the guest apart', () => {
    const ios = Array.from({ length: 10 }, (_, i) => ({ addr: 0xf1000020, data: i }));
    const p = pairRequests(accessesOf(ios.slice(2, 8)), requestsOf(ios));
    expect(p.unpairedRequests.map((u) => u.reason)).toEqual([
      'before the trace began',
      'before the trace began',
      'after the trace ended',
      'after the trace ended',
    ]);
    const q = pairRequests(accessesOf([{ addr: 0xfee00020, data: 1 }]), requestsOf(ios));
    expect(q.unpairedAccesses[0]!.reason).toMatch(/^served in the hypervisor or not logged/);
  });
});

describe('clock alignment', () => {
  const ios = Array.from({ length: 200 }, (_, i) => ({ addr: 0xf1000020, data: i }));

  it('finds offset and rate within its error, and every pair keeps the bounds', () => {
    const rate = 1.0002;
    const offset = 12_345;
    const traceAt = (i: number): number => 1000 + i * 5000;
    const accesses = accessesOf(ios, traceAt);
    const requests = requestsOf(ios, (i) => offset + rate * (traceAt(i) + 4));
    const c = alignClocks(accesses, pairRequests(accesses, requests), 1)!;
    expect(c.consistent).toBe(true);
    expect(c.outliers).toEqual([]);
    expect(Math.abs(c.rate - rate)).toBeLessThanOrEqual(c.rateError!);
    const truth = WALL * 1e6 + offset + (rate * c.centreNs) / 1000;
    expect(Math.abs(c.offsetUs - truth)).toBeLessThanOrEqual(c.errorUs);
    expect(c.errorUs).toBeLessThan(6);
    for (const a of accesses)
      expect(traceToWallUs(c, a.marks.exit!.timeNs)).toBeLessThanOrEqual(requests[a.index]!.request.timeUs! + c.errorUs + 1);
  });

  it('drops a few contradicting pairs and names them, and gives up its bound after a clock step', () => {
    const traceAt = (i: number): number => 1000 + i * 5000;
    const accesses = accessesOf(ios, traceAt);
    const late = requestsOf(ios, (i) => traceAt(i) + 4 + (i === 77 ? 50_000 : 0));
    const c = alignClocks(accesses, pairRequests(accesses, late), 1)!;
    expect(c.outliers.map((o) => o.access.data)).toEqual([77n]);
    expect(c.consistent).toBe(true);
    const stepped = requestsOf(ios, (i) => traceAt(i) + 4 + (i % 2 === 0 ? 1e6 : 0));
    expect(alignClocks(accesses, pairRequests(accesses, stepped), 1)!.consistent).toBe(false);
  });

  it('takes a slow answer for slow, not for a contradiction', () => {
    const traceAt = (i: number): number => 1000 + i * 5000;
    const accesses = accessesOf(ios, traceAt);
    // One request logged before its exit among answers of every latency up to the 10 µs there are.
    const requests = requestsOf(ios, (i) => traceAt(i) + (i === 50 ? -40 : i % 7));
    const c = alignClocks(accesses, pairRequests(accesses, requests), 1)!;
    expect(c.outliers.map((o) => o.access.data)).toEqual([50n]);
    expect(c.consistent).toBe(true);
    expect(c.errorUs).toBeLessThan(5);
  });

  it('estimates nothing from less than two pairs', () => {
    const one = [{ addr: 0xf1000020, data: 1 }];
    const accesses = accessesOf(one);
    expect(alignClocks(accesses, pairRequests(accesses, requestsOf(one)), 1)).toBeUndefined();
  });
});
