/** The list of NIC chips. A chip is added by its own folder and one line here (docs/adding-a-chip.md). */
import { e1000 } from './e1000/model.ts';
import type { NicModel } from './model.ts';
import { ne2kPci } from './ne2k_pci/model.ts';
import { pcnet } from './pcnet/model.ts';
import { rtl8139 } from './rtl8139/model.ts';

export const nicModels: readonly NicModel[] = [rtl8139, e1000, ne2kPci, pcnet];
