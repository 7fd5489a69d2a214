import { LIST_MAX } from "./limits.js";
import { checkedPage } from "./wire.js";

/** The pages of a list that has so many items, the newest first. `ask` gives what `inbox.list` answers to an argument. */
export async function pagesOf(wanted, ask) {
  const pages = [];
  for (let number = 0, page; number < wanted && page !== null; ) {
    const answer = checkedPage(await ask({ limit: Math.min(LIST_MAX, wanted - number), ...(page && { page }) }));
    pages.push(answer);
    number += answer.items.length;
    page = answer.next;
  }
  return pages;
}
