import { useComputedColorScheme, useMantineColorScheme } from "@mantine/core";

/** The scheme in use and a switch; until someone switches, the system's preference decides. */
export function useColorScheme() {
  const scheme = useComputedColorScheme("light", { getInitialValueInEffect: false });
  const { setColorScheme } = useMantineColorScheme();
  return { scheme, toggle: () => setColorScheme(scheme === "dark" ? "light" : "dark") };
}
