// Light, dark, or as the system has it.

import { $ } from './dom.js';

const KEPT = 'evenkeel.theme';
const NEXT = { system: 'light', light: 'dark', dark: 'system' };
const LOOKS = { system: ['◐', 'as the system has it'], light: ['☀', 'light'], dark: ['☾', 'dark'] };

function kept() {
  try {
    return localStorage.getItem(KEPT) ?? 'system';
  } catch {
    return 'system';
  }
}

/** @param {() => void} changed */
export function setUpTheme(changed) {
  let theme = NEXT[kept()] ? kept() : 'system';
  const show = () => {
    if (theme === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const [sign, words] = LOOKS[theme];
    $('theme').firstElementChild.textContent = sign;
    $('theme').ariaLabel = `Theme: ${words}`;
    $('theme').title = `Theme: ${words}`;
    changed();
  };
  $('theme').addEventListener('click', () => {
    theme = NEXT[theme];
    try {
      localStorage.setItem(KEPT, theme);
    } catch {
      // Not kept, then.
    }
    show();
  });
  show();
}
