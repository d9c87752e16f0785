import { tellStory, type Analysis } from '../../src/analyze/index.ts';
import { UserError } from '../../src/base/errors.ts';
import type { Checker } from './check.ts';

/** Tells every packet of the capture, and every guest's best transmission where there is none; gives how many were told. */
export function tellAll(a: Analysis, checker: Checker): number {
  const tell = (packet: number | undefined, domain: number | undefined): void => {
    const story = tellStory(a, { packet, domain: domain === undefined ? undefined : String(domain) });
    checker.check(`packet ${packet ?? ''} ${domain ?? ''}`.trim(), story);
  };
  if (a.frames.length === 0) for (const g of a.guests) if (g.transmissions.length > 0) tell(undefined, g.dom);
  for (const { number } of a.frames) {
    try {
      tell(number, undefined);
    } catch (error) {
      // A frame that is no guest's own, nor to one: then the reader asks whose story it shall be.
      if (!(error instanceof UserError) || !error.message.includes('--domain')) throw error;
      for (const g of a.guests) tell(number, g.dom);
    }
  }
  return a.frames.length;
}
