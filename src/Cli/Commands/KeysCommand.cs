using System.CommandLine;
using MLDistributed.Cli.Output;
using MLDistributed.Coordinator;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist keys create | list | revoke</summary>
internal sealed class KeysCommand : Command
{
    private readonly Option<string> _data = new("--data") { Description = "The coordinator's data folder, on this machine.", Required = true, HelpName = "D", Recursive = true };
    private readonly Option<string> _name = new("--name") { Description = "Whose key it is.", Required = true, HelpName = "N" };
    private readonly Option<string> _tenant = new("--tenant") { Description = "The owner of what is submitted with it.", DefaultValueFactory = _ => "default", HelpName = "T" };
    private readonly Option<string[]> _scopes = new("--scopes") { Description = "What it may do: submit, read, admin; metrics: GET /metrics and nothing else.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => ["submit", "read"] };
    private readonly Option<bool> _json = ClusterCommand.AsJson();
    private readonly Option<int?> _maxPriority = new("--max-priority") { Description = "The highest priority that jobs may be submitted with; 0, and no limit for admin, when not given.", HelpName = "n" };
    private readonly Argument<string> _id = new("id") { Description = "The key's id, from \"mldist keys list\", or its first digits." };

    public KeysCommand() : base("keys", "Make, list and revoke API keys, on the coordinator's machine.")
    {
        _scopes.AcceptOnlyFromAmong("submit", "read", "admin", "metrics");
        var create = new Command("create", "Make a key and print it. It cannot be shown again.") { _name, _tenant, _scopes, _maxPriority, _json };
        create.SetAction(Create);
        var list = new Command("list", "List all keys, without their secrets.") { _json };
        list.SetAction(List);
        var revoke = new Command("revoke", "Revoke a key at once.") { _id, _json };
        revoke.SetAction(Revoke);
        Add(_data);
        Add(create);
        Add(list);
        Add(revoke);
    }

    private int Create(ParseResult parsed)
    {
        foreach (var option in (Option<string>[])[_name, _tenant])
        {
            if (string.IsNullOrWhiteSpace(parsed.GetValue(option)))
                throw new CliException($"{option.Name} is \"{parsed.GetValue(option)}\", expected a name.", ExitCode.Usage);
        }

        var scopes = parsed.GetRequiredValue(_scopes).Aggregate(Scopes.None, (all, name) => all | Enum.Parse<Scopes>(name, ignoreCase: true));
        var key = CoordinatorAdministration.CreateKey(parsed.GetRequiredValue(_data), parsed.GetRequiredValue(_name), parsed.GetRequiredValue(_tenant), scopes, parsed.GetValue(_maxPriority));
        if (parsed.GetValue(_json))
            Json.Write(new NewKeyView(key));
        else
            Console.WriteLine(key);
        return ExitCode.Success;
    }

    private int List(ParseResult parsed)
    {
        var keys = CoordinatorAdministration.ListKeys(parsed.GetRequiredValue(_data));
        if (parsed.GetValue(_json))
        {
            Json.Write(keys.Select(KeyView.Of));
            return ExitCode.Success;
        }

        var table = new ListTable("Id", "Tenant", "Scopes", "Priority", "Created", "Revoked", "Name");
        foreach (var key in keys)
            table.Add(key.Id, key.Tenant, key.Scopes.ToString().ToLowerInvariant(), key.MaxPriority == int.MaxValue ? "any" : $"to {key.MaxPriority}", $"{key.Created.ToLocalTime():yyyy-MM-dd HH:mm}", key.Revoked is { } revoked ? $"{revoked.ToLocalTime():yyyy-MM-dd HH:mm}" : "", key.Name);
        table.Write();
        return ExitCode.Success;
    }

    private int Revoke(ParseResult parsed)
    {
        var data = parsed.GetRequiredValue(_data);
        var valid = CoordinatorAdministration.ListKeys(data).Where(k => k.Revoked is null).Select(k => k.Id);
        var id = Ids.Complete("Key", parsed.GetRequiredValue(_id), valid, "that \"mldist keys list\" shows as valid");
        CoordinatorAdministration.RevokeKey(data, id);
        if (parsed.GetValue(_json))
            Json.Write(new RevokedView(id));
        else
            Console.WriteLine($"Key \"{id}\" is revoked.");
        return ExitCode.Success;
    }
}
