import type { Engine } from './engine.ts';
import type { TracedPcpu } from './domains.ts';
import { decodeRecord } from '../records/decode.ts';

/** Fields that read better in hexadecimal. */
const HEX_FIELDS =
  /^(rip|eip|va|addr|cr2|gpa|gfn|mfn|gl1e|pte|write_val|value|flags|eax|ebx|ecx|edx|leaf|subleaf|msr|mask\d|error_code|data|port|offset|vector|qualification)$/;

/**
 * Write the default dump's line for a record by its layout: name, then fields. For what xenalyze does not decode or
 * refuses.
 * @returns false, with nothing written, if no layout is known
 */
export function describe(engine: Engine, p: TracedPcpu): boolean {
  const words = Array.from(p.words.subarray(p.data, p.data + p.extra), (word) => word >>> 0);
  const decoded = decodeRecord(p.event, words, {
    vendor: engine.options.svm ? 'svm' : 'vmx',
    xenMinor: engine.options.xenMinor,
    tscBaseHigh: engine.merge.tscBaseHigh,
  });
  const out = engine.out;
  if (decoded.kind === 'unknown') return false;
  engine.line(32);
  out.byte(32);
  if (decoded.kind === 'event') {
    out.str(decoded.name);
    for (const [name, value] of Object.entries(decoded.fields)) out.str(field(name, value));
  } else {
    out.str(decoded.kind);
    for (const [name, value] of Object.entries(decoded)) {
      if (name !== 'kind' && name !== 'class') out.str(field(name, value));
    }
  }
  out.byte(10);
  return true;
}

const field = (name: string, value: unknown): string =>
  ` ${name} ${(typeof value === 'bigint' || typeof value === 'number') && HEX_FIELDS.test(name) && value >= 0 ? value.toString(16) : String(value)}`;
