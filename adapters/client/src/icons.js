export const icon = (does, more = "") => `<button type=button data-does=${does} data-icon=${does} ${more}></button>`;
