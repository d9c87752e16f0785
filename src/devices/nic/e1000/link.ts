/** The link: cable, PHY behind MDIC, auto-negotiation. STATUS.LU and the PHY's status say the same, except while it is negotiated. */
import { lines } from './log.ts';
import { M88E1000 } from './phy.ts';
import { INT_LSC, INT_MDAC, R, STATUS_LU, type ChipPort } from './port.ts';
import { fieldMask } from './registers.ts';

/** How long auto-negotiation takes. */
const AUTONEG_MS = 500;

const MDIC_DATA = fieldMask('MDIC', 'DATA');
/** Field OP: 01 writes, 10 reads. */
const MDIC_WRITE = 0x04000000;
const MDIC_READ = 0x08000000;
const MDIC_READY = fieldMask('MDIC', 'READY');
const MDIC_INT_EN = fieldMask('MDIC', 'INT_EN');
const MDIC_ERROR = fieldMask('MDIC', 'ERROR');
const PHY_ADDRESS = 1;

/** What the link needs of the chip beside its registers. */
interface LinkPort extends ChipPort {
  /** Has Link.negotiated() called so many milliseconds from now. */
  armNegotiation(ms: number): void;
  /** The receiver may take frames now that waited for the link. */
  flush(): void;
}

export class Link {
  readonly phy = new M88E1000();
  private readonly port: LinkPort;

  constructor(port: LinkPort) {
    this.port = port;
  }

  reset(): void {
    this.phy.reset();
    if (!this.port.state.linkUp) this.down();
  }

  /** The cable goes in or out. */
  set(up: boolean): void {
    const { port, phy } = this;
    const { values } = port.regs;
    const before = values[R.STATUS];
    port.state.linkUp = up;
    if (!up) this.down();
    else if (phy.negotiates && !phy.negotiated) this.negotiate();
    else {
      values[R.STATUS]! |= STATUS_LU;
      phy.linkUp();
      port.flush();
    }
    if (values[R.STATUS] !== before) port.interrupt(INT_LSC);
  }

  /** The time of auto-negotiation is over. */
  negotiated(): void {
    const { port } = this;
    if (!port.state.linkUp) return;
    port.regs.values[R.STATUS]! |= STATUS_LU;
    this.phy.negotiationDone();
    port.flush();
    port.interrupt(INT_LSC);
  }

  /** Software writes MDIC: the access is done at once. */
  writeMdic(value: number): void {
    const { port } = this;
    const { values } = port.regs;
    const { log } = port;
    const register = (value >>> 16) & 0x1f;
    const data = value & MDIC_DATA;
    let result = value;
    if (((value >>> 21) & 0x1f) !== PHY_ADDRESS) result = values[R.MDIC]! | MDIC_ERROR;
    else if (value & MDIC_READ) {
      if (log) log(lines.mdicRead, { phy: register });
      const read = this.phy.read(register);
      if (read !== undefined) result = (value & ~MDIC_DATA) | read;
      else {
        if (log) log(lines.mdicReadUnhandled, { phy: register });
        result |= MDIC_ERROR;
      }
    } else if (value & MDIC_WRITE) {
      if (log) log(lines.mdicWrite, { phy: register, value: data });
      const restart = this.phy.write(register, data);
      if (restart) this.negotiate();
      else if (restart === undefined) {
        if (log) log(lines.mdicWriteUnhandled, { phy: register });
        result |= MDIC_ERROR;
      }
    }
    values[R.MDIC] = result | MDIC_READY;
    if (result & MDIC_INT_EN) port.interrupt(INT_MDAC);
  }

  private down(): void {
    this.port.regs.values[R.STATUS]! &= ~STATUS_LU;
    this.phy.linkDown();
  }

  private negotiate(): void {
    this.down();
    this.port.armNegotiation(AUTONEG_MS);
  }
}
