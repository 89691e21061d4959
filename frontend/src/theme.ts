import {
  ActionIcon,
  Anchor,
  Badge,
  Button,
  createTheme,
  type CSSVariablesResolver,
  InputWrapper,
  Menu,
  type MantineColorsTuple,
  Modal,
  NavLink,
  Tooltip,
} from "@mantine/core";

/** One accent, of the indigo family: actions and selection, nothing else. */
const accent: MantineColorsTuple = [
  "#eef0ff",
  "#dfe3ff",
  "#bfc6fb",
  "#9fa9f7",
  "#8490f2",
  "#6b78e8",
  "#5461d6",
  "#4450bd",
  "#3842a0",
  "#2b337d",
];

const slate: MantineColorsTuple = [
  "#f6f7f9",
  "#eef1f4",
  "#e3e7ed",
  "#d3dae2",
  "#b9c2ce",
  "#8b97a7",
  "#667385",
  "#4c5868",
  "#333e4c",
  "#1b2430",
];

/** Mantine reads 0 as text, 2 as dimmed text, 4 as borders, 6 as fields, 7 as the page. */
const dark: MantineColorsTuple = [
  "#e4e9f0",
  "#c6cfda",
  "#a5b1bf",
  "#748194",
  "#354150",
  "#26303d",
  "#1c2530",
  "#11171f",
  "#0c1117",
  "#080b10",
];

/** The header of a dialog is a `header` element; without a role of its own it counts as a second banner of the page. */
const dialogProps = {
  closeButtonProps: { "aria-label": "Close" },
  attributes: { header: { role: "presentation" } },
  transitionProps: { duration: 120 },
  shadow: "none",
} as const;

export const theme = createTheme({
  colors: { accent, gray: slate, dark },
  primaryColor: "accent",
  primaryShade: { light: 7, dark: 6 },
  autoContrast: true,
  luminanceThreshold: 0.32,
  defaultRadius: 6,
  fontFamily: 'Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif',
  fontFamilyMonospace: '"JetBrains Mono", ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace',
  fontSizes: { xs: "12px", sm: "13px", md: "14px", lg: "16px", xl: "20px" },
  lineHeights: { xs: "1.4", sm: "1.45", md: "1.5", lg: "1.55", xl: "1.6" },
  spacing: { xs: "8px", sm: "12px", md: "16px", lg: "24px", xl: "32px" },
  radius: { xs: "3px", sm: "4px", md: "6px", lg: "8px", xl: "12px" },
  headings: {
    fontWeight: "620",
    sizes: {
      h1: { fontSize: "20px", lineHeight: "1.4" },
      h2: { fontSize: "16px", lineHeight: "1.4" },
      h3: { fontSize: "14px", lineHeight: "1.4" },
    },
  },
  respectReducedMotion: true,
  cursorType: "pointer",
  components: {
    InputWrapper: InputWrapper.extend({ styles: { label: { marginBottom: 4 } } }),
    Button: Button.extend({ defaultProps: { size: "sm" } }),
    ActionIcon: ActionIcon.extend({ defaultProps: { variant: "subtle", color: "gray", size: 32 } }),
    Badge: Badge.extend({ defaultProps: { tt: "none", radius: "md" } }),
    Anchor: Anchor.extend({ defaultProps: { underline: "always" } }),
    // Its placeholder for the first focus is no menu item, and nothing else may stand in a menu.
    Menu: Menu.extend({ defaultProps: { withInitialFocusPlaceholder: false, shadow: "none" } }),
    NavLink: NavLink.extend({ defaultProps: { variant: "light" } }),
    Tooltip: Tooltip.extend({ defaultProps: { withArrow: true, openDelay: 250, transitionProps: { duration: 100 } } }),
    Modal: Modal.extend({
      defaultProps: dialogProps,
      styles: { title: { fontSize: "16px", fontWeight: 620, lineHeight: 1.35, overflowWrap: "anywhere" } },
    }),
  },
});

/** Mantine's own text colours miss AA in places; these are the pairs that hold in both schemes. */
export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--mantine-color-body": "#ffffff",
    "--mantine-color-text": "#1b2430",
    "--mantine-color-dimmed": "#525e6e",
    "--mantine-color-placeholder": "#5f6b7b",
    "--mantine-color-error": "#b3261e",
    "--mantine-color-anchor": "#3f4ab3",
    "--mantine-color-default-border": "#c9d1db",
    "--mantine-color-gray-text": "#4c5868",
    "--mantine-color-gray-light-color": "#3d4857",
    "--mantine-color-accent-light-hover": "#d0d6fc",
    "--mantine-color-accent-light-color": "#3842a0",
    "--mantine-color-red-light-color": "#9c1f18",
    "--mantine-color-red-filled": "#b3261e",
    "--mantine-color-red-filled-hover": "#971f18",
    "--mantine-color-red-text": "#b3261e",
    "--mantine-color-red-outline": "#b3261e",
    "--mantine-color-red-light": "#fce9e7",
    "--mantine-color-yellow-light": "#fcf0d9",
    "--mantine-color-yellow-light-color": "#754600",
  },
  dark: {
    "--mantine-color-body": "#151c25",
    "--mantine-color-text": "#e4e9f0",
    "--mantine-color-dimmed": "#a5b1bf",
    "--mantine-color-placeholder": "#98a4b3",
    "--mantine-color-error": "#ff9b92",
    "--mantine-color-anchor": "#aab3ff",
    "--mantine-color-default-border": "#3a4656",
    "--mantine-color-disabled": "#2b3644",
    "--mantine-color-disabled-color": "#98a4b3",
    "--mantine-color-gray-text": "#b6c0cc",
    "--mantine-color-gray-light-color": "#c6cfda",
    "--mantine-color-accent-text": "#aab3ff",
    "--mantine-color-accent-light": "#2b3468",
    "--mantine-color-accent-light-hover": "#313b74",
    "--mantine-color-accent-light-color": "#bfc6fb",
    "--mantine-color-red-light-color": "#ffb4ad",
    "--mantine-color-red-filled": "#c2362c",
    "--mantine-color-red-filled-hover": "#a92d24",
    "--mantine-color-red-text": "#ff9b92",
    "--mantine-color-red-outline": "#ff9b92",
    "--mantine-color-red-light": "#3b1c1a",
    "--mantine-color-yellow-light": "#352812",
    "--mantine-color-yellow-light-color": "#f2c46d",
  },
});
