import { describe, expect, it } from 'vitest';
import { versionNotes } from './versions.ts';

const all = { guests: true, io: true, vga: true, pvhDom0: true };
const none = { guests: false, io: false, vga: false, pvhDom0: false };

describe('notes about releases', () => {
  it('a trace of Xen 4.17 needs none', () => {
    expect(versionNotes({ xenFrom: '4.13', xenTo: '4.18' }, all)).toEqual([]);
  });

  it('say it with certainty where every possible release does so', () => {
    const lines = versionNotes({ xenFrom: '4.22', xenTo: '4.22' }, all);
    expect(lines).toHaveLength(4);
    for (const line of lines) expect(line).toMatch(/^Since Xen 4\.(19|20|22): /);
  });

  it('say "if" where only some of the possible releases do so, or none is known', () => {
    expect(versionNotes({ xenFrom: '4.19', xenTo: '4.22' }, all).map((line) => line.split(':')[0])).toEqual([
      'Since Xen 4.19',
      'If this is Xen 4.20 or later',
      'If this is Xen 4.20 or later',
      'If this is Xen 4.22 or later',
    ]);
    expect(versionNotes({ xenFrom: null, xenTo: null }, all)[0]).toMatch(/^If this is Xen 4\.19 or later: /);
  });

  it('only where the trace holds what they are about', () => {
    const range = { xenFrom: '4.22', xenTo: '4.22' };
    expect(versionNotes(range, none)).toEqual([]);
    expect(versionNotes(range, { ...none, vga: true }).join()).toContain('VGA');
    expect(versionNotes(range, { ...none, io: true }).join()).toContain('ioreqs');
    expect(versionNotes(range, { ...none, pvhDom0: true }).join()).toContain('mmu_update');
  });
});
