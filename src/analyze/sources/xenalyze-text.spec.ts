import { describe, expect, it } from 'vitest';
import { parseXenalyzeLine } from './xenalyze-text.ts';

describe('xenalyze text', () => {
  it('reads a quoted excerpt', () => {
    expect(
      parseXenalyzeLine('\t\t]  1.744702725     -x-- d3v1 vmexit exit_reason EPT_VIOLATION eip ffffffffa01624ae', 18),
    ).toEqual({
      kind: 'vmexit',
      ref: { file: 'text', unit: 'line', at: 18 },
      timeNs: 1744702725,
      pcpu: 1,
      dom: 3,
      vcpu: 1,
      reason: 'EPT_VIOLATION',
      rip: 0xffffffffa01624aen,
    });
    expect(
      parseXenalyzeLine('   \t\t   1.744702725     -x-- d3v1 npf gpa f2051020 q 182 mfn ffffffffffffffff t 4', 1),
    ).toMatchObject({ kind: 'npf', gpa: 0xf2051020, qualification: 0x182, mfn: undefined, p2mType: 4 });
    expect(parseXenalyzeLine('\t\t]  1.744702725     -x-- d3v1 mmio_assist w gpa f2051020 data d4e6c400', 1)).toMatchObject({
      kind: 'io',
      space: 'mmio',
      dir: 'write',
      addr: 0xf2051020,
      data: 0xd4e6c400n,
    });
    expect(parseXenalyzeLine('   1.744706888     -x-- d3v1 runstate_change d0v0 blocked->runnable', 1)).toMatchObject({
      kind: 'runstate',
      dom: 0,
      vcpu: 0,
      from: 'blocked',
      to: 'runnable',
    });
  });

  it.each([
    [
      '!  3.237520580 |x d1v0 mmio_assist [ f100003e 0 ]',
      { kind: 'io', space: 'mmio', dir: undefined, addr: 0xf100003e, data: 0n },
    ],
    ['!  2.394609868 |x d1v0 io_assist [ 3fa c2 ]', { kind: 'io', space: 'pio', dir: undefined, addr: 0x3fa, data: 0xc2n }],
    [
      '   3.122653866 |x d1v0 io read port cfc val 10',
      { kind: 'io', space: 'pio', dir: 'read', addr: 0xcfc, data: 0x10n, pcpu: 1 },
    ],
    [']  6.640026702 -x d1v0 vmentry cycles 155662 !', { kind: 'vmentry' }],
    ['   6.633402425 -x d1v0 inj_virq vec 243  real', { kind: 'inject', vector: 243 }],
    ['   6.639339030 x- d0v0 hypercall 29', { kind: 'hypercall', number: 41, hvm: false, pcpu: 0 }],
    ['   0.184011134 x- d0v0 hypercall  1 (mmu_update) 1 updates', { kind: 'hypercall', number: 1 }],
    ['   6.633823360 -x d1v0 vmcall 18 (vcpu_op)', { kind: 'hypercall', number: 24, hvm: true }],
    ['   0.709356604 x- d0v0 lost_records count 1361 d0v0 (cur d0v0) first_tsc 461904337114', { kind: 'lost', count: 1361 }],
    ['   6.635599055 -x d?v? runstate_change d32767v1 runnable->running', { kind: 'runstate', dom: 32767, to: 'running' }],
    [
      ' 1.000000000 x- d0v0 set_p2m_entry d1 o0 t 0 g 518e m 13d55e',
      { kind: 'p2m', domid: 1, gfn: 0x518e, mfn: 0x13d55en, p2mType: 0, order: 0 },
    ],
  ])('%s', (line, expected) => {
    expect(parseXenalyzeLine(line, 1)).toMatchObject(expected);
  });

  it.each([
    'As shown above, the value of data is "d4e6c400"',
    'Unknown hvm event: 84011',
    '',
    'WARNING: Unexpected vcpu data type for d1v0 on proc 1!',
  ])('passes over %j', (line) => {
    expect(parseXenalyzeLine(line, 1)).toBeUndefined();
  });
});
