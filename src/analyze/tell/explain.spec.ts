import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { explainTerm, likeTerms } from './explain.ts';
import { glossary, glossaryPage } from './glossary.ts';

const terms = glossary.flatMap((c) => c.terms);

/** Words of the capture's protocols, which every network tool prints, and the one that stands for any word. */
const NOT_OURS = /^(?:ICMP|ICMPv6|ARP|IPv4|IPv6|UDP|TCP|TERM|8139cp|8139too)$/i;

/** Words of a text that no dictionary has: abbreviations, names with an underscore or a capital inside. */
function technical(text: string): string[] {
  const found =
    text.match(/\b(?:[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*|[a-z]+(?:_[a-z0-9]+)+|[A-Z][a-z]+(?:[A-Z][A-Za-z0-9]*)+)\b/g) ?? [];
  return [...new Set(found)].filter((word) => !NOT_OURS.test(word));
}

describe('explain', () => {
  it('docs/glossary.md is that of the code (else: node scripts/docs.mjs)', () => {
    expect(readFileSync(new URL('../../../docs/glossary.md', import.meta.url), 'utf8')).toBe(glossaryPage());
  });

  it('knows each spelling once', () => {
    const all = terms.flatMap((t) => [t.name, ...(t.also ?? [])]).map((x) => x.toLowerCase());
    expect(all.filter((name, i) => all.indexOf(name) !== i)).toEqual([]);
    for (const name of all) expect(explainTerm(name)).not.toEqual([]);
  });

  it('explains every technical word of the stories that are kept', () => {
    const texts = ['testing/golden', '../testing/golden'].flatMap((folder) => {
      const at = new URL(`${folder}/`, import.meta.url);
      return readdirSync(at).map((name) => readFileSync(new URL(name, at), 'utf8'));
    });
    expect(texts.length).toBeGreaterThan(5);
    const words = new Set(texts.flatMap(technical));
    expect(words.size).toBeGreaterThan(30);
    expect([...words].filter((word) => explainTerm(word).length === 0)).toEqual([]);
  });

  it('explains registers, one of many and a part of one, and fields', () => {
    expect(explainTerm('TxPoll')[0]).toMatch(/^TxPoll: register of the RTL8139 at offset 0xd9, 1 byte, in C\+ mode: Doorbell/);
    expect(explainTerm('mta[34]')).toEqual(explainTerm('MTA'));
    expect(explainTerm('TxConfig+1')).toEqual(explainTerm('TxConfig'));
    expect(explainTerm('TxOK').some((line) => line.startsWith('TxOK: a field of IntrStatus, TxOK (bit 2'))).toBe(true);
    expect(explainTerm('slot')[0]).toMatch(/^slot: The place of one request/);
    expect(explainTerm('map  CACHE')).toEqual(explainTerm('map cache'));
  });

  it('offers what is like a word that it does not know', () => {
    expect(explainTerm('txpol')).toEqual([]);
    expect(likeTerms('txpol')).toContain('TxPoll');
    expect(likeTerms('x'.repeat(10_000))).toEqual([]);
  });
});
