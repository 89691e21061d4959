import { Link } from "react-router";
import classes from "./Brand.module.css";

export function Brand() {
  return (
    <Link to="/models" className={classes.brand} aria-label="Modelyard, models">
      <svg width="24" height="24" viewBox="0 0 24 24" aria-hidden>
        <rect x="1" y="3" width="22" height="5" rx="1.5" className={classes.bar} />
        <rect x="1" y="9.5" width="14" height="5" rx="1.5" className={classes.bar} opacity="0.72" />
        <rect x="1" y="16" width="8" height="5" rx="1.5" className={classes.bar} opacity="0.46" />
      </svg>
      <span className={classes.word}>modelyard</span>
    </Link>
  );
}
