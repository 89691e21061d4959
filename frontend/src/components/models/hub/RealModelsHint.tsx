import { Link } from "react-router";

/** The way from the samples to models that are of use. */
export function RealModelsHint() {
  return (
    <>
      For real models choose the Hugging Face Hub in <Link to="/settings">Settings</Link>.
    </>
  );
}
