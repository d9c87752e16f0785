/** Each thing of a packet in every address space, and who translates from one to the next. */
import type { AddressRow, Claim } from '../library/index.ts';
import { select, source, story } from './state.ts';
import { canTravel, whoWrote } from './travel.ts';

function Box({ space, claim }: { readonly space: string; readonly claim: Claim<string> }) {
  const { value, why, refs, strength } = claim;
  const isNone = value !== undefined && value.startsWith('none');
  return (
    <div class={`box ${value === undefined ? 'unknown' : isNone ? 'none' : ''}`} title={why}>
      <small>{space}</small>
      {refs[0] === undefined ? (
        <b>{value ?? 'unknown'}</b>
      ) : (
        <button type="button" class="address" onClick={() => void select(refs[0])}>
          {value ?? 'unknown'}
        </button>
      )}
      {value !== undefined && strength !== 'proven' && <em class="strength">{strength}</em>}
    </div>
  );
}

function Arrow({ by, how, down = false }: { readonly by: string; readonly how?: string | undefined; readonly down?: boolean }) {
  return (
    <div class={down ? 'arrow down' : 'arrow'}>
      <span>{by}</span>
      {how !== undefined && <small>{how}</small>}
    </div>
  );
}

/** Hit or miss of the map cache, where the claim's reason says so. */
const cacheOf = ({ why }: Claim<string>): string | undefined => /\b(hit|miss)\b/i.exec(why)?.[1]?.toLowerCase();

function Row({ row }: { readonly row: AddressRow }) {
  const gpa = /^0x([0-9a-f]+)$/.exec(row.gpa.value ?? '')?.[1];
  const isDevice = row.mfn.value?.startsWith('none') ?? false;
  const cache = cacheOf(row.mapping);
  return (
    <li>
      <div class="head">
        <h3>{row.what}</h3>
        {source.value !== 'files' && canTravel.value && gpa !== undefined && !isDevice && (
          <button type="button" class="ask" onClick={() => void whoWrote(`${row.what} at 0x${gpa}`, Number.parseInt(gpa, 16), 4)}>
            who wrote this?
          </button>
        )}
      </div>
      <div class="spaces">
        <Box space="guest-virtual" claim={row.gva} />
        <Arrow by="guest's page tables" />
        <Box space="guest-physical" claim={row.gpa} />
        <Arrow by="p2m (EPT)" />
        <Box space="machine frame" claim={row.mfn} />
        <Arrow by={isDevice ? 'ioreq' : 'map cache'} how={isDevice ? 'the address itself' : cache} down />
        <Box space="device model" claim={row.mapping} />
      </div>
    </li>
  );
}

export function Addresses() {
  const told = story.value;
  return (
    <section class="pane addresses" aria-labelledby="addresses-title">
      <h2 id="addresses-title">Address spaces</h2>
      {told === undefined || told.addresses.length === 0 ? (
        <p class="note">The addresses of a packet, in each space that knows it.</p>
      ) : (
        <ul>
          {told.addresses.map((row) => (
            <Row key={row.what} row={row} />
          ))}
        </ul>
      )}
    </section>
  );
}
