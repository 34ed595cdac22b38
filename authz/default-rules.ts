/** Rules that hold where nobody has written any; also what etc/acl.conf says. */
export const DEFAULT_RULES = `%% Who may publish and subscribe to what. Rules are tried from top to bottom, the first that fits decides:
%%
%%   {allow or deny, Condition, publish or subscribe or all, ["topic/filter", ...]}.

%% The user "dashboard" may watch the broker's own topics.
{allow, {username, {re, "^dashboard$"}}, subscribe, ["$SYS/#"]}.

%% Whoever is on this machine may do everything.
{allow, {ipaddr, "127.0.0.1"}, all, ["$SYS/#", "#"]}.

%% Nobody else may watch the broker's own topics, or all that is published.
{deny, all, subscribe, ["$SYS/#", {eq, "#"}, {eq, "+/#"}]}.

%% Everything else is allowed. For production, delete this line, write rules for your clients, and set
%% authorization.no_match to deny.
{allow, all}.
`
