import { hue, initials } from "../text";

export function Avatar({ name, small = false }: { name: string; small?: boolean }) {
  return <span class={`avatar avatar-${hue(name)}${small ? " small" : ""}`} aria-hidden="true">{initials(name)}</span>;
}

const PATHS = {
  back: "M15 5l-7 7 7 7",
  down: "M12 5v14M6 13l6 6 6-6",
  send: "M5 12h14M13 6l6 6-6 6",
  plus: "M12 5v14M5 12h14",
  people: "M9 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7zM3 20c0-3.500 2.700-6 6-6s6 2.500 6 6M16 4.500a3.500 3.500 0 0 1 0 6M18 14.500c1.900.8 3 2.900 3 5.500",
  check: "M5 12.500l4.500 4.500L19 7.500",
  clock: "M12 7v5l3 2M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  warn: "M12 8v5M12 16.500v.1M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
