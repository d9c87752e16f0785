import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { analyze, type Analysis, type AnalysisInput } from '../join/analysis.ts';

/** Text data beside this file. */
const dataFile = (name: string): string => readFileSync(join(import.meta.dirname, name), 'utf8');

/** The texts of one excerpt, to be changed before they are analysed. */
export interface Excerpt {
  trace: string;
  log: string | undefined;
  pcap: Uint8Array | undefined;
}

/** `8139cp` or `8139too`: a few milliseconds of a capture (README.md beside). */
export function excerpt(driver: '8139cp' | '8139too'): Excerpt {
  return {
    trace: dataFile(`${driver}.trace.txt`),
    log: dataFile(`${driver}.dm-log.txt`),
    pcap: Uint8Array.from(Buffer.from(dataFile(`${driver}.pcap.hex`).replace(/\s/g, ''), 'hex')),
  };
}

/** The mail: trace and log in one text. */
export const mail = (): string => dataFile('xen-devel-mail.txt');

export const inputOf = (e: Excerpt): AnalysisInput => ({ text: e.trace.split('\n'), dmLog: e.log?.split('\n'), pcap: e.pcap });

export const analyzeExcerpt = (e: Excerpt): Promise<Analysis> => analyze(inputOf(e));
