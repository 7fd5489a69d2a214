/**
 * What the bell says, by language. A text with a number in it has a form for each plural of the language
 * (`Intl.PluralRules`), and `{n}` where the number stands. A page's own table may also name types: `"type:order.paid"`.
 */
export const MESSAGES = {
  en: {
    title: "Notifications",
    count: { other: "{n} unread" },
  },
  fr: {
    title: "Notifications",
    count: { one: "{n} non lue", other: "{n} non lues" },
  },
};
