using System.CommandLine;
using MLDistributed.Coordinator;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist keys create | list | revoke</summary>
internal sealed class KeysCommand : Command
{
    private readonly Option<string> _data = new("--data") { Description = "The coordinator's data folder, on this machine.", Required = true, HelpName = "D", Recursive = true };
    private readonly Option<string> _name = new("--name") { Description = "Whose key it is.", Required = true, HelpName = "N" };
    private readonly Option<string> _tenant = new("--tenant") { Description = "The owner of what is submitted with it.", DefaultValueFactory = _ => "default", HelpName = "T" };
    private readonly Option<string[]> _scopes = new("--scopes") { Description = "What it may do: submit, read, admin.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => ["submit", "read"] };
    private readonly Argument<string> _id = new("id") { Description = "The key's id, from \"mldist keys list\"." };

    public KeysCommand() : base("keys", "Make, list and revoke API keys, on the coordinator's machine.")
    {
        _scopes.AcceptOnlyFromAmong("submit", "read", "admin");
        var create = new Command("create", "Make a key and print it. It cannot be shown again.") { _name, _tenant, _scopes };
        create.SetAction(Create);
        var list = new Command("list", "List all keys, without their secrets.");
        list.SetAction(List);
        var revoke = new Command("revoke", "Revoke a key at once.") { _id };
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
        Console.WriteLine(CoordinatorAdministration.CreateKey(parsed.GetRequiredValue(_data), parsed.GetRequiredValue(_name), parsed.GetRequiredValue(_tenant), scopes));
        return ExitCode.Success;
    }

    private int List(ParseResult parsed)
    {
        var table = new ListTable("Id", "Tenant", "Scopes", "Created", "Revoked", "Name");
        foreach (var key in CoordinatorAdministration.ListKeys(parsed.GetRequiredValue(_data)))
            table.Add(key.Id, key.Tenant, key.Scopes.ToString().ToLowerInvariant(), $"{key.Created.ToLocalTime():yyyy-MM-dd HH:mm}", key.Revoked is { } revoked ? $"{revoked.ToLocalTime():yyyy-MM-dd HH:mm}" : "", key.Name);
        table.Write();
        return ExitCode.Success;
    }

    private int Revoke(ParseResult parsed)
    {
        var id = parsed.GetRequiredValue(_id);
        if (!CoordinatorAdministration.RevokeKey(parsed.GetRequiredValue(_data), id))
            throw new CliException($"Key \"{id}\" is unknown or revoked already, expected one that \"mldist keys list\" shows as valid.");
        Console.WriteLine($"Key \"{id}\" is revoked.");
        return ExitCode.Success;
    }
}
