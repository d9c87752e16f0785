/** Guest-virtual addresses for an analysis: no record holds them, but the machine saw them. */
import { type Claim, claim, unknown } from '../analyze/index.ts';
import { type Gpa, gpaToGfn, pageOffset } from '../base/address.ts';
import { linearOf } from './linear-map.ts';
import type { GuestReport } from './report.ts';

/** Guest-virtual address of a guest-physical one. @param when the tables were read, for the reason: `at the end of the run` */
export function gvaOf(linear: GuestReport['linear'], gpa: number, when: string): Claim<bigint> {
  const page = linear.mmio.find(([gfn]) => gfn === gpaToGfn(gpa as Gpa));
  if (page !== undefined) return claim(page[1] + BigInt(pageOffset(gpa)), 'proven', 'the VM exit gave the linear address', []);
  const address = linearOf(linear.kernel, gpa);
  return address === undefined
    ? unknown(`the guest's page tables do not map it ${when}`)
    : claim(address, 'strong', `the guest's page tables map it there ${when}`, []);
}
